package scheduler

import "slices"

// nodePorts keeps pods from nodes where another has taken a port that they want.
type nodePorts struct{}

func (*nodePorts) Filter(c *Cycle) (Judge, *Refusal) {
	want := c.Pod.Ports
	if len(want) == 0 {
		return nil, nil
	}
	refusal := &Refusal{Plugin: "NodePorts", Reasons: []string{"node(s) didn't have free ports for the requested pod ports"}}
	return judging(func(n *Node) *Refusal {
		if portsConflict(want, n.Ports) {
			return refusal
		}
		return nil
	}), nil
}

func portsConflict(want, taken []HostPort) bool {
	return slices.ContainsFunc(want, func(p HostPort) bool { return slices.ContainsFunc(taken, p.conflicts) })
}

func (*nodePorts) WakenBy() Kind { return NodeAdded | PodDeleted }

func (*nodePorts) Helps(e *Event, p *Pod) bool {
	return e.Pod == nil || portsConflict(p.Ports, e.Pod.Ports)
}
