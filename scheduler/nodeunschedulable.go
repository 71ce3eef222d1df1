package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// nodeUnschedulable keeps pods from cordoned nodes, unless they tolerate the taint that such a node has.
type nodeUnschedulable struct{}

func (*nodeUnschedulable) Filter(c *Cycle) (Judge, *Refusal) {
	if c.cordoned == 0 || toleratesUnschedulable(c.Pod) {
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
		return toleratesUnschedulable(e.Pod) && !toleratesUnschedulable(e.OldPod)
	}
	return !e.Node.Spec.Unschedulable && (e.OldNode == nil || e.OldNode.Spec.Unschedulable)
}

// Facts say that the node is cordoned.
func (*nodeUnschedulable) Facts(*Cycle, Judge, *Node) []Fact {
	return []Fact{{Text: "cordoned (spec.unschedulable)"}}
}

// Changes are to end that, or to tolerate it.
func (*nodeUnschedulable) Changes(_ *Cycle, _ Judge, n *Node) []Change {
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	return []Change{
		{Text: "uncordon " + n.name, Kind: "uncordon", Cost: 10, Node: func(o *corev1.Node) {
			o.Spec.Unschedulable = false
			o.Spec.Taints = slices.DeleteFunc(o.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taint.Key })
		}},
		tolerating(60, taint),
	}
}
