package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1affinity "k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// nodeAffinity keeps pods to the nodes that their node selector and their affinity name, and likes those that they prefer.
type nodeAffinity struct{}

func (*nodeAffinity) Filter(c *Cycle) (Judge, *Refusal) {
	if len(c.Pod.Spec.NodeSelector) == 0 && requiredNodes(c.Pod) == nil {
		return nil, nil
	}
	required := corev1affinity.GetRequiredNodeAffinity(c.Pod.Pod)
	refusal := &Refusal{"NodeAffinity", []string{"node(s) didn't match Pod's node affinity/selector"}, true}
	return judging(func(n *Node) *Refusal {
		if ok, _ := required.Match(n.Node); !ok { // a term that cannot be read matches nothing
			return refusal
		}
		return nil
	}), nil
}

func requiredNodes(p *Pod) *corev1.NodeSelector {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// Choose finds the names if every term names nodes, as those of a DaemonSet's pods do.
func (*nodeAffinity) Choose(c *Cycle) ([]string, bool, *Refusal) {
	required := requiredNodes(c.Pod)
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil, false, nil
	}
	var names []string
	for i := range required.NodeSelectorTerms {
		named, limited := namedBy(&required.NodeSelectorTerms[i])
		if !limited {
			return nil, false, nil
		}
		names = append(names, named...)
	}
	if len(names) == 0 {
		return nil, true, &Refusal{"NodeAffinity", []string{"pod affinity terms conflict"}, true}
	}
	slices.Sort(names)
	return slices.Compact(names), true, nil
}

// namedBy are the nodes that all of a term's requirements of names have in common.
func namedBy(t *corev1.NodeSelectorTerm) (names []string, limited bool) {
	for _, r := range t.MatchFields {
		if r.Key != metav1.ObjectNameField || r.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		if !limited {
			names, limited = slices.Clone(r.Values), true
			continue
		}
		names = slices.DeleteFunc(names, func(s string) bool { return !slices.Contains(r.Values, s) })
	}
	return names, limited
}

func (*nodeAffinity) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	a := c.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	preferred, err := corev1affinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return false
	}
	for i, n := range nodes {
		scores[i] = preferred.Score(n.Node)
	}
	scaleToBest(scores, false)
	return true
}

func (*nodeAffinity) WakenBy() Kind { return NodeAdded | NodeLabels }

func (*nodeAffinity) Helps(e *Event, p *Pod) bool {
	required := corev1affinity.GetRequiredNodeAffinity(p.Pod)
	if ok, err := required.Match(e.Node); err != nil || !ok {
		return err != nil
	}
	if e.OldNode == nil {
		return true
	}
	ok, _ := required.Match(e.OldNode)
	return !ok
}
