package scheduler

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
)

// nodeDeclaredFeatures keeps pods that use a feature to nodes that declare it: an older kubelet would not understand them.
type nodeDeclaredFeatures struct{}

func (*nodeDeclaredFeatures) Filter(c *Cycle) (Judge, *Refusal) {
	const plugin = "NodeDeclaredFeatures"
	needed, err := ndf.DefaultFramework.InferForPodScheduling(&ndf.PodInfo{Spec: &c.Pod.Spec}, version.MajorMinor(1, 36))
	if err != nil {
		return nil, hopeless(plugin, err)
	}
	if needed.IsEmpty() {
		return nil, nil
	}
	refusal := &Refusal{plugin, []string{"node(s) didn't match Pod's required features"}, true}
	return judging(func(n *Node) *Refusal {
		if match, err := ndf.DefaultFramework.MatchNode(needed, n.Node); err != nil || !match.IsMatch {
			return refusal
		}
		return nil
	}), nil
}

func (*nodeDeclaredFeatures) WakenBy() Kind { return NodeAdded | NodeOther }

func (*nodeDeclaredFeatures) Helps(e *Event, _ *Pod) bool {
	return e.OldNode == nil || !slices.Equal(e.OldNode.Status.DeclaredFeatures, e.Node.Status.DeclaredFeatures)
}

// Facts are the features that the node does not declare.
func (*nodeDeclaredFeatures) Facts(c *Cycle, _ Judge, n *Node) []Fact {
	needed, err := ndf.DefaultFramework.InferForPodScheduling(&ndf.PodInfo{Spec: &c.Pod.Spec}, version.MajorMinor(1, 36))
	if err != nil || n == nil {
		return nil
	}
	match, err := ndf.DefaultFramework.MatchNode(needed, n.Node)
	if err != nil {
		return nil
	}
	return []Fact{{Text: "the node does not declare " + strings.Join(match.UnsatisfiedRequirements, ", ")}}
}

// Changes are none: what a kubelet can do is not for labels to say.
func (*nodeDeclaredFeatures) Changes(*Cycle, Judge, *Node) []Change { return nil }
