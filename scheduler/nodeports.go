package scheduler

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

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

// Facts are the ports that are taken.
func (*nodePorts) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	for _, want := range c.Pod.Ports {
		if slices.ContainsFunc(n.Ports, want.conflicts) {
			facts = append(facts, Fact{Text: "port " + want.String() + " is taken by " + strings.Join(podNames(portHolders(n, want)), ", "), Port: want.String()})
		}
	}
	return facts
}

func (p HostPort) String() string {
	if p.IP == anyAddress {
		return fmt.Sprintf("%d/%s", p.Port, p.Protocol)
	}
	return fmt.Sprintf("%s:%d/%s", p.IP, p.Port, p.Protocol)
}

// portHolders are the pods that have a port of a node, or one that conflicts with it.
func portHolders(n *Node, port HostPort) (pods []*Pod) {
	for _, p := range n.Pods {
		if slices.ContainsFunc(p.Ports, port.conflicts) {
			pods = append(pods, p)
		}
	}
	return pods
}

// podNames are namespaces and names.
func podNames(pods []*Pod) (names []string) {
	for _, p := range pods {
		names = append(names, p.key().String())
	}
	return names
}

// Changes are that the others go, or that the pod does without the ports.
func (*nodePorts) Changes(c *Cycle, _ Judge, n *Node) []Change {
	var there []*Pod
	var ports []string
	taken := map[int32]bool{}
	for _, want := range c.Pod.Ports {
		if slices.ContainsFunc(n.Ports, want.conflicts) {
			ports, taken[want.Port] = append(ports, want.String()), true
			for _, p := range portHolders(n, want) {
				if !slices.Contains(there, p) {
					there = append(there, p)
				}
			}
		}
	}
	what := "port " + strings.Join(ports, ", ")
	return append(freeing(n, what, there), Change{Text: "do without host" + what, Kind: "port", Cost: 50, Pod: func(p *corev1.Pod) {
		for i := range p.Spec.Containers {
			for j := range p.Spec.Containers[i].Ports {
				if port := &p.Spec.Containers[i].Ports[j]; taken[port.HostPort] {
					port.HostPort = 0
				}
			}
		}
	}})
}
