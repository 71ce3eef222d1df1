package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// taintToleration keeps pods from nodes with taints that they do not tolerate, and likes nodes with few taints of the
// softer kind.
type taintToleration struct{}

func (*taintToleration) Filter(c *Cycle) (Judge, *Refusal) {
	if c.tainted == 0 {
		return nil, nil
	}
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
		return len(e.OldPod.Spec.Tolerations) != len(e.Pod.Spec.Tolerations) // they can only become more
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

// Facts are the taints that the pod does not tolerate.
func (*taintToleration) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	for _, t := range untolerated(c.Pod, n) {
		facts = append(facts, Fact{Text: "taint " + t.ToString() + " is not tolerated", Taint: t.ToString()})
	}
	return facts
}

func untolerated(p *Pod, n *Node) (taints []corev1.Taint) {
	for i := range n.hard {
		if !tolerates(p.Spec.Tolerations, &n.hard[i]) {
			taints = append(taints, n.hard[i])
		}
	}
	return taints
}

// Changes are to tolerate them, or that they go. Those that tell of the node's condition go by themselves.
func (*taintToleration) Changes(c *Cycle, _ Judge, n *Node) []Change {
	taints := untolerated(c.Pod, n)
	var own, conditions []string
	for _, t := range taints {
		if strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			conditions = append(conditions, strings.TrimPrefix(t.Key, "node.kubernetes.io/"))
		} else {
			own = append(own, t.ToString())
		}
	}
	gone := Change{Text: "remove taint " + strings.Join(own, ", ") + " from " + n.name, Kind: "taint", Cost: 30, Node: func(o *corev1.Node) {
		o.Spec.Taints = slices.DeleteFunc(o.Spec.Taints, func(t corev1.Taint) bool { return slices.Contains(taints, t) })
	}}
	if len(conditions) > 0 {
		gone.Text, gone.Kind, gone.Cost = "mend "+n.name+": it is "+strings.Join(conditions, " and "), "mend", 20
		if len(own) > 0 {
			gone.Text += ", and remove taint " + strings.Join(own, ", ")
		}
		return []Change{gone}
	}
	return []Change{tolerating(20, taints...), gone}
}

// tolerating is the change that a pod tolerates taints.
func tolerating(cost int, taints ...corev1.Taint) Change {
	var texts []string
	for _, t := range taints {
		texts = append(texts, t.ToString())
	}
	return Change{Text: "tolerate taint " + strings.Join(texts, ", "), Kind: "tolerate", Cost: cost, Pod: func(p *corev1.Pod) {
		for _, t := range taints {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpEqual, Value: t.Value, Effect: t.Effect})
		}
	}}
}
