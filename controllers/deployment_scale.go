package controllers

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
)

// What a ReplicaSet remembers of the deployment at the time that it was sized last: its size, and that with the surge.
const (
	desiredAnnotation = "deployment.kubernetes.io/desired-replicas"
	maximumAnnotation = "deployment.kubernetes.io/max-replicas"
)

// rememberedSize reads one of these annotations, which anybody may have changed.
func rememberedSize(rs *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseUint(rs.Annotations[annotation], 10, 31)
	return int32(n), err == nil
}

// rememberSizes notes the deployment's size in a ReplicaSet.
func rememberSizes(rs *appsv1.ReplicaSet, d *appsv1.Deployment) {
	for name, size := range sizesToRemember(d) {
		annotate(rs, name, size)
	}
}

// remembersSizes reports that nothing would change.
func remembersSizes(rs *appsv1.ReplicaSet, d *appsv1.Deployment) bool {
	for name, size := range sizesToRemember(d) {
		if rs.Annotations[name] != size {
			return false
		}
	}
	return true
}

func sizesToRemember(d *appsv1.Deployment) map[string]string {
	surge, _ := deploymentLimits(d)
	size := ptr.Deref(d.Spec.Replicas, 1)
	return map[string]string{desiredAnnotation: strconv.Itoa(int(size)), maximumAnnotation: strconv.Itoa(int(size + surge))}
}

// annotate sets an annotation and reports whether it was another.
func annotate(rs *appsv1.ReplicaSet, name, value string) bool {
	if had, ok := rs.Annotations[name]; ok && had == value {
		return false
	}
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	rs.Annotations[name] = value
	return true
}

// resize plans a size and reports whether it is another than now.
func (o *rollout) resize(rs *appsv1.ReplicaSet, size int32) bool {
	if sizeOf(rs) == size {
		return false
	}
	changed := o.change(rs)
	changed.Spec.Replicas = ptr.To(size)
	rememberSizes(changed, o.d)
	return true
}

// isScaled reports that somebody has changed the deployment's size since its ReplicaSets were sized.
func (o *rollout) isScaled() bool {
	return slices.ContainsFunc(activeSets(o.all()), func(rs *appsv1.ReplicaSet) bool {
		size, ok := rememberedSize(rs, desiredAnnotation)
		return ok && size != o.wanted()
	})
}

// scale brings the deployment to its size without hastening or holding up a rollout.
func (o *rollout) scale() {
	active := activeSets(o.all())
	switch {
	case len(active) <= 1:
		if rs := o.activeOrNewest(active); rs != nil {
			o.resize(rs, o.wanted())
		}
	case o.isSaturated():
		for _, rs := range activeSets(o.old) {
			o.resize(rs, 0)
		}
	case o.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType:
		o.scaleInProportion(active)
	}
}

// activeOrNewest is the one to scale if there is but one that wants pods, or none.
func (o *rollout) activeOrNewest(active []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	switch {
	case len(active) > 0:
		return active[0]
	case o.current != nil:
		return o.current
	case len(o.old) > 0:
		return o.old[len(o.old)-1]
	}
	return nil
}

// isSaturated reports that the current ReplicaSet has all the pods of the deployment, available, and knows that it has.
func (o *rollout) isSaturated() bool {
	if o.current == nil {
		return false
	}
	desired, ok := rememberedSize(o.current, desiredAnnotation)
	return ok && desired == o.wanted() && sizeOf(o.current) == o.wanted() && o.current.Status.AvailableReplicas == o.wanted()
}

// scaleInProportion gives each ReplicaSet its share of what has to be added or taken away.
func (o *rollout) scaleInProportion(active []*appsv1.ReplicaSet) {
	sorted, sizes := proportions(o.d, active)
	for i, rs := range sorted {
		// Also one that keeps its size has to learn the deployment's, or scaling never ends.
		if !o.resize(rs, sizes[i]) && !remembersSizes(rs, o.d) {
			rememberSizes(o.change(rs), o.d)
		}
	}
}

// proportions are the sizes of ReplicaSets that together are what the deployment wants and its surge allows, the largest
// first. Of two that are equal the newer grows and the older shrinks first; what rounding leaves goes to the first.
func proportions(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) ([]*appsv1.ReplicaSet, []int32) {
	surge, _ := deploymentLimits(d)
	allowed := int32(0)
	if size := ptr.Deref(d.Spec.Replicas, 1); size > 0 {
		allowed = size + surge
	}
	rest := allowed - sum(sets, sizeOf)
	sorted := slices.SortedStableFunc(slices.Values(sets), func(a, b *appsv1.ReplicaSet) int {
		age := compareSetAges(a, b)
		if rest > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(sizeOf(b), sizeOf(a)), age)
	})
	sizes := make([]int32, len(sorted))
	for i, rs := range sorted {
		share := shareOf(d, rs, allowed)
		switch {
		case rest > 0:
			share = min(share, rest)
		case rest < 0:
			share = max(share, rest)
		default:
			share = 0
		}
		sizes[i], rest = sizeOf(rs)+share, rest-share
	}
	if len(sizes) > 0 {
		sizes[0] = max(0, sizes[0]+rest)
	}
	return sorted, sizes
}

// shareOf is by how much a ReplicaSet has to change so that it is the same part of the new whole that it was of the old.
func shareOf(d *appsv1.Deployment, rs *appsv1.ReplicaSet, allowed int32) int32 {
	if ptr.Deref(d.Spec.Replicas, 1) == 0 {
		return -sizeOf(rs)
	}
	before, ok := rememberedSize(rs, maximumAnnotation)
	if !ok || before == 0 {
		before = d.Status.Replicas // somebody has removed the annotation
	}
	if before == 0 {
		return 0
	}
	return int32(math.Round(float64(sizeOf(rs))*float64(allowed)/float64(before))) - sizeOf(rs)
}
