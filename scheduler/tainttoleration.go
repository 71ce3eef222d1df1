package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// taintToleration keeps pods from nodes with taints that they do not tolerate, and likes nodes with few taints of the
// softer kind.
type taintToleration struct{}

func (*taintToleration) Filter(c *Cycle) (Judge, *Refusal) {
	tolerations := c.Pod.Spec.Tolerations
	refusal := &Refusal{"TaintToleration", []string{"node(s) had untolerated taint(s)"}, true}
	return judging(func(n *Node) *Refusal {
		if len(n.hard) > 0 && !tolerateAll(tolerations, n.hard) {
			return refusal
		}
		return nil
	}), nil
}

func (*taintToleration) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	var soft []corev1.Toleration
	for _, t := range c.Pod.Spec.Tolerations {
		if t.Effect == "" || t.Effect == corev1.TaintEffectPreferNoSchedule {
			soft = append(soft, t)
		}
	}
	for i, n := range nodes {
		for j := range n.soft {
			if !tolerates(soft, &n.soft[j]) {
				scores[i]++
			}
		}
	}
	scaleToBest(scores, true)
	return true
}

func (*taintToleration) WakenBy() Kind { return NodeAdded | NodeTaints | SelfChanged }

func (*taintToleration) Helps(e *Event, p *Pod) bool {
	if e.Node == nil {
		return true // other tolerations
	}
	return tolerateAll(p.Spec.Tolerations, hardTaints(e.Node)) &&
		(e.OldNode == nil || !tolerateAll(p.Spec.Tolerations, hardTaints(e.OldNode)))
}

// hardTaints are those that keep pods away.
func hardTaints(node *corev1.Node) []corev1.Taint {
	var hard []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute {
			hard = append(hard, t)
		}
	}
	return hard
}

func tolerateAll(tolerations []corev1.Toleration, taints []corev1.Taint) bool {
	for i := range taints {
		if !tolerates(tolerations, &taints[i]) {
			return false
		}
	}
	return true
}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Background(), taint, false) {
			return true
		}
	}
	return false
}
