package controllers

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	topology "k8s.io/component-helpers/node/topology"
)

// conditionTaints are the NoSchedule taints that a node's conditions mean. Those that are new are from now on.
func conditionTaints(node *corev1.Node, now time.Time) (taints []corev1.Taint) {
	mean := func(key string) {
		at := metav1.NewTime(now)
		taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &at})
	}
	meaning := map[corev1.NodeConditionType]map[corev1.ConditionStatus]string{
		corev1.NodeReady:              {corev1.ConditionFalse: corev1.TaintNodeNotReady, corev1.ConditionUnknown: corev1.TaintNodeUnreachable},
		corev1.NodeMemoryPressure:     {corev1.ConditionTrue: corev1.TaintNodeMemoryPressure},
		corev1.NodeDiskPressure:       {corev1.ConditionTrue: corev1.TaintNodeDiskPressure},
		corev1.NodeNetworkUnavailable: {corev1.ConditionTrue: corev1.TaintNodeNetworkUnavailable},
		corev1.NodePIDPressure:        {corev1.ConditionTrue: corev1.TaintNodePIDPressure},
	}
	for _, c := range node.Status.Conditions {
		if key := meaning[c.Type][c.Status]; key != "" {
			mean(key)
		}
	}
	if node.Spec.Unschedulable {
		mean(corev1.TaintNodeUnschedulable)
	}
	return taints
}

// isLifecycleTaint reports whether a taint is one that this controller keeps.
func isLifecycleTaint(t corev1.Taint) bool {
	switch t.Effect {
	case corev1.TaintEffectNoSchedule:
		return slices.Contains([]string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure,
			corev1.TaintNodeNetworkUnavailable, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable}, t.Key)
	case corev1.TaintEffectNoExecute:
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	}
	return false
}

// mergeTaints keeps the taints of others, and of its own those that are still wanted, as they are: when a taint was added
// counts.
func mergeTaints(known, want []corev1.Taint) []corev1.Taint {
	same := func(a corev1.Taint) func(corev1.Taint) bool {
		return func(b corev1.Taint) bool { return a.Key == b.Key && a.Effect == b.Effect }
	}
	var merged []corev1.Taint
	for _, k := range known {
		if !isLifecycleTaint(k) || slices.ContainsFunc(want, same(k)) {
			merged = append(merged, k)
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(merged, same(w)) {
			merged = append(merged, w)
		}
	}
	return merged
}

// evictionTaints is the NoExecute taint that a node that is not ready has, if its zone allows for it now; if not, wait is
// how long until it may. A node that has one of the two and would get the other does so at once.
func (x *nodeLifecycle) evictionTaints(t *Turn, node *corev1.Node) (taints []corev1.Taint, wait time.Duration) {
	ready := nodeCondition(node, corev1.NodeReady)
	if ready == nil || ready.Status == corev1.ConditionTrue {
		return nil, 0
	}
	at := metav1.NewTime(t.Now)
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute, TimeAdded: &at}
	if ready.Status == corev1.ConditionUnknown {
		taint.Key = corev1.TaintNodeUnreachable
	}
	zone := topology.GetZoneKey(node)
	pace, all := x.pace(zone)
	if all {
		return nil, zoneCheck
	}
	if isEvicting(node) {
		return []corev1.Taint{taint}, 0
	}
	if pace == 0 {
		return nil, zoneCheck
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if next := x.zones[zone]; next.After(t.Now) {
		return nil, next.Sub(t.Now)
	}
	x.zones[zone] = t.Now.Add(time.Duration(float64(time.Second) / pace))
	return []corev1.Taint{taint}, 0
}

// isEvicting reports whether a node has a taint of this controller's by which its pods go.
func isEvicting(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(k corev1.Taint) bool {
		return k.Effect == corev1.TaintEffectNoExecute && isLifecycleTaint(k)
	})
}

// How fast nodes are tainted, in nodes a second, and what a large zone is.
const (
	evictionPace          = 0.1
	secondaryEvictionPace = 0.01
	largeZone             = 50
	unhealthyShare        = 0.55
	// zoneCheck is how soon a node whose zone does not allow for its taint is looked at again.
	zoneCheck = 5 * time.Second
)

// excludedFromDisruption is a label of nodes that do not count when the health of their zone is judged.
const excludedFromDisruption = "node.kubernetes.io/exclude-disruption"

// zoneHealth counts the nodes of a zone.
type zoneHealth struct{ ready, unready int }

func (x *nodeLifecycle) pace(zone string) (pace float64, all bool) {
	zones := map[string]zoneHealth{}
	for _, o := range x.nodes.all("") {
		node := o.(*corev1.Node)
		if _, excluded := node.Labels[excludedFromDisruption]; excluded {
			continue
		}
		z := zones[topology.GetZoneKey(node)]
		if c := nodeCondition(node, corev1.NodeReady); c != nil && c.Status == corev1.ConditionTrue {
			z.ready++
		} else {
			z.unready++
		}
		zones[topology.GetZoneKey(node)] = z
	}
	return zonePace(zones, zone)
}

// zonePace is how many nodes a second of a zone may be tainted. If no node of any zone is ready, it is this side that is
// cut off: nothing is evicted. A zone of which many nodes are not ready goes slowly if it is large, and not at all if it is
// small; one that is down as a whole goes as fast as ever, for others are up to take its pods.
func zonePace(zones map[string]zoneHealth, zone string) (pace float64, all bool) {
	all = true
	for _, z := range zones {
		all = all && z.ready == 0
	}
	z := zones[zone]
	total := z.ready + z.unready
	switch {
	case all:
		return 0, len(zones) > 0
	case z.ready == 0:
		return evictionPace, false
	case z.unready > 2 && float64(z.unready)/float64(total) >= unhealthyShare:
		if total > largeZone {
			return secondaryEvictionPace, false
		}
		return 0, false
	}
	return evictionPace, false
}
