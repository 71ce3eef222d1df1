package controllers

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// deploymentLimits are how many pods there may be too many, and how many too few that are available. Percentages are of the
// size, rounded up and down; where both come to nothing no step could be taken, and one pod may be unavailable.
func deploymentLimits(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || rolling == nil {
		return 0, 0
	}
	size := ptr.Deref(d.Spec.Replicas, 1)
	up, errUp := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxSurge, intstr.FromInt32(0)), int(size), true)
	down, errDown := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxUnavailable, intstr.FromInt32(0)), int(size), false)
	if errUp != nil || errDown != nil {
		return 0, 0 // validation lets none through
	}
	if up == 0 && down == 0 {
		down = 1
	}
	return int32(up), min(int32(down), size)
}

// roll takes the next step of a rolling update: the current ReplicaSet grows as far as the surge lets it; when it cannot, the
// old ones shrink as far as what is available lets them.
func (o *rollout) roll() {
	o.ensureCurrent()
	if o.growCurrent() || o.shrinkOld() {
		return
	}
	if deploymentComplete(o.d) {
		o.cleanup()
	}
}

// growCurrent brings the current ReplicaSet closer to its size and reports whether that changes anything.
func (o *rollout) growCurrent() bool {
	size := sizeOf(o.current)
	switch wanted := o.wanted(); {
	case size > wanted:
		return o.resize(o.current, wanted)
	case size < wanted:
		return o.resize(o.current, o.room(size))
	}
	return false
}

// room is the size that the current ReplicaSet may have, which has size now: all that is wanted, but no more pods in all than
// the surge allows. An old one that has been told to shrink has its pods for as long as it has not said that they are gone:
// until then there is no room. (Upstream counts on what was told, and so has a pod too many for a moment.)
func (o *rollout) room(size int32) int32 {
	if o.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return o.wanted()
	}
	if slices.ContainsFunc(o.old, isShrinking) {
		return size
	}
	surge, _ := deploymentLimits(o.d)
	free := o.wanted() + surge - sum(o.old, sizeOf) - size
	if free <= 0 {
		return size
	}
	return size + min(free, o.wanted()-size)
}

// isShrinking reports that a ReplicaSet may have more pods than it should.
func isShrinking(rs *appsv1.ReplicaSet) bool {
	return rs.Status.ObservedGeneration < rs.Generation || rs.Status.Replicas > sizeOf(rs)
}

// shrinkOld takes pods from the old ReplicaSets and reports whether there were any to take. Pods of the current one that are
// not available are not taken for granted: as many of the old ones stay.
//
// Old pods that are not available go first, for they help nobody, and a rollout away from them must not wait for them.
func (o *rollout) shrinkOld() bool {
	old := activeSets(o.old)
	_, unavailable := deploymentLimits(o.d)
	least := o.wanted() - unavailable
	spare := sum(o.all(), sizeOf) - least - (sizeOf(o.current) - stayingOf(o.current))
	if len(old) == 0 || spare <= 0 {
		return false
	}
	sick := o.take(old, spare, func(rs *appsv1.ReplicaSet) int32 { return sizeOf(rs) - rs.Status.AvailableReplicas })
	sound := o.take(activeSets(o.old), sum(o.all(), stayingOf)-least, sizeOf)
	return sick+sound > 0
}

// stayingOf is how many pods of a ReplicaSet are available and stay: one that was told to shrink may not have said yet that it
// has, and what it is about to lose must not be counted on.
func stayingOf(rs *appsv1.ReplicaSet) int32 { return min(rs.Status.AvailableReplicas, sizeOf(rs)) }

// take makes ReplicaSets smaller by n in all, the oldest first, each by what it can give. It returns how many it took.
func (o *rollout) take(from []*appsv1.ReplicaSet, n int32, give func(*appsv1.ReplicaSet) int32) (taken int32) {
	for _, rs := range from {
		if share := min(n-taken, give(rs)); share > 0 {
			o.resize(rs, sizeOf(rs)-share)
			taken += share
		}
	}
	return taken
}

// recreate lets go of all old pods before there are new ones: also of those that take their time to end.
func (o *rollout) recreate(running map[types.UID]int) {
	shrunk := false
	for _, rs := range activeSets(o.old) {
		shrunk = o.resize(rs, 0) || shrunk
	}
	if shrunk || slices.ContainsFunc(o.old, func(rs *appsv1.ReplicaSet) bool { return rs.Status.Replicas > 0 || running[rs.UID] > 0 }) {
		return
	}
	o.ensureCurrent()
	o.resize(o.current, o.wanted())
	if deploymentComplete(o.d) {
		o.cleanup()
	}
}
