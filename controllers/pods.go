package controllers

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// isActive reports whether a pod counts for those who want pods: it is neither finished nor going.
func isActive(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && p.DeletionTimestamp == nil
}

func podCondition(p *corev1.Pod, of corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == of {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// conditionPatch is the status of a strategic patch that sets a condition. One that is new comes last: patches put what is new
// first, unless they name the order.
func conditionPatch(p *corev1.Pod, c corev1.PodCondition) map[string]any {
	type named struct {
		Type corev1.PodConditionType `json:"type"`
	}
	var order []named
	for _, there := range p.Status.Conditions {
		order = append(order, named{there.Type})
	}
	if podCondition(p, c.Type) == nil {
		order = append(order, named{c.Type})
	}
	return map[string]any{"conditions": []corev1.PodCondition{c}, "$setElementOrder/conditions": order}
}

func isReady(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// availableIn is how long it takes until a pod has been ready for minReadySeconds: zero if it has been, and false if it
// is not ready.
func availableIn(p *corev1.Pod, minReadySeconds int32, now time.Time) (time.Duration, bool) {
	c := podCondition(p, corev1.PodReady)
	switch {
	case c == nil || c.Status != corev1.ConditionTrue:
		return 0, false
	case minReadySeconds == 0:
		return 0, true
	case c.LastTransitionTime.IsZero():
		return 0, false
	}
	return max(0, c.LastTransitionTime.Add(time.Duration(minReadySeconds)*time.Second).Sub(now)), true
}

// doomed orders pods by which is to go first when there are too many: pods that have not got far before those that have,
// cheap before dear (the annotation pod-deletion-cost), from crowded nodes before lonely ones, young before old. crowd
// is how many pods of the same workload run on a pod's node.
func doomed(pods []*corev1.Pod, crowd func(*corev1.Pod) int, now time.Time) []*corev1.Pod {
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		return cmp.Or(
			compareBools(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
			compareBools(isReady(a), isReady(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(crowd(b), crowd(a)),
			compareAges(readySince(a), readySince(b), a.UID, b.UID, now),
			cmp.Compare(restarts(b.Status.ContainerStatuses), restarts(a.Status.ContainerStatuses)),
			cmp.Compare(restarts(b.Status.InitContainerStatuses), restarts(a.Status.InitContainerStatuses)),
			compareAges(a.CreationTimestamp, b.CreationTimestamp, a.UID, b.UID, now),
		)
	})
	return sorted
}

// compareBools puts false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareAges puts the younger first, and what has no time before it. Ages are compared by their power of two, and below
// that by UID: among pods of about the same age the order shall be as good as random, so that not always the same node
// loses its pods.
func compareAges(a, b metav1.Time, uidA, uidB types.UID, now time.Time) int {
	switch {
	case a.Equal(&b):
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	rank := func(t metav1.Time) int { return int(math.Log2(max(1, float64(now.Sub(t.Time))))) }
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(uidA, uidB))
}

func deletionCost(p *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

func readySince(p *corev1.Pod) metav1.Time {
	if c := podCondition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime
	}
	return metav1.Time{}
}

// restarts are those of the container that was restarted most.
func restarts(of []corev1.ContainerStatus) int32 {
	var most int32
	for _, s := range of {
		most = max(most, s.RestartCount)
	}
	return most
}
