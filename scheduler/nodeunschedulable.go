package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// nodeUnschedulable keeps pods from cordoned nodes, unless they tolerate the taint that such a node has.
type nodeUnschedulable struct{}

func (*nodeUnschedulable) Filter(c *Cycle) (Judge, *Refusal) {
	if toleratesUnschedulable(c.Pod) {
		return nil, nil
	}
	refusal := &Refusal{"NodeUnschedulable", []string{"node(s) were unschedulable"}, true}
	return judging(func(n *Node) *Refusal {
		if n.Spec.Unschedulable {
			return refusal
		}
		return nil
	}), nil
}

func toleratesUnschedulable(p *Pod) bool {
	return tolerates(p.Spec.Tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
}

func (*nodeUnschedulable) WakenBy() Kind { return NodeAdded | NodeTaints | SelfChanged }

func (*nodeUnschedulable) Helps(e *Event, p *Pod) bool {
	if e.Node == nil {
		return toleratesUnschedulable(p)
	}
	return !e.Node.Spec.Unschedulable && (e.OldNode == nil || e.OldNode.Spec.Unschedulable)
}
