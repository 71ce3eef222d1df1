package scheduler

// nodeName keeps pods that name a node to it.
type nodeName struct{}

func (*nodeName) Filter(c *Cycle) (Judge, *Refusal) {
	want := c.Pod.Spec.NodeName
	if want == "" {
		return nil, nil
	}
	refusal := &Refusal{"NodeName", []string{"node(s) didn't match the requested node name"}, true}
	return judging(func(n *Node) *Refusal {
		if n.name != want {
			return refusal
		}
		return nil
	}), nil
}

func (*nodeName) WakenBy() Kind           { return NodeAdded }
func (*nodeName) Helps(*Event, *Pod) bool { return true }

// Facts name the node that the pod names.
func (*nodeName) Facts(c *Cycle, _ Judge, _ *Node) []Fact {
	return []Fact{{Text: "the pod names node " + c.Pod.Spec.NodeName}}
}

// Changes are none: a name in a pod does not change.
func (*nodeName) Changes(*Cycle, Judge, *Node) []Change { return nil }
