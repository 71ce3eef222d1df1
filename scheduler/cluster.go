package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	topologylabels "k8s.io/component-helpers/node/topology"
)

// Cluster is the world as the scheduler knows it: nodes, and the pods on them, bound or assumed to be. It changes by
// what changes, under the scheduler's lock.
type Cluster struct {
	nodes map[string]*Node
	slots []*Node // by slot; nil where one is free
	// blocks are the room of the nodes, by slot too: it is used again, so nothing may point to a node that is not known.
	blocks []*[nodeBlock]Node
	// order is the nodes that there are, interleaved by zone; nil when it has to be made again.
	order []*Node
	names []string // of the nodes, in the order of their coming

	pods    map[types.UID]*Pod // on nodes
	assumed map[types.UID]bool // of these: not yet seen to be bound
	leaving map[types.UID]bool // of these: being preempted, which may not show yet
	images  map[string]int     // how many nodes have an image
	// How many nodes are cordoned, and how many have taints that keep pods away: mostly none, and then nobody need look.
	cordoned, tainted int

	namespaces map[string]labels.Set
	classes    map[string]*class
	tallies    map[string]*tally
	holdings   map[string]*holding
	topologies map[string]*topology

	cycle int64 // number of the cycle, the clock of what is forgotten
	start int   // where in order the next cycle begins to look

	scratch scratch
}

func newCluster() *Cluster {
	return &Cluster{nodes: map[string]*Node{}, pods: map[types.UID]*Pod{}, assumed: map[types.UID]bool{}, leaving: map[types.UID]bool{}, images: map[string]int{},
		namespaces: map[string]labels.Set{}, classes: map[string]*class{}, tallies: map[string]*tally{},
		holdings: map[string]*holding{}, topologies: map[string]*topology{}}
}

// node finds a node, or makes the place where pods are kept that are said to run on one that is not known yet.
func (c *Cluster) node(name string) *Node {
	n := c.nodes[name]
	if n == nil {
		slot := c.freeSlot()
		if int(slot)/nodeBlock == len(c.blocks) {
			c.blocks = append(c.blocks, new([nodeBlock]Node))
		}
		n = &c.blocks[slot/nodeBlock][slot%nodeBlock]
		n.name, n.slot = name, slot
		c.nodes[name], c.slots[slot] = n, n
	}
	return n
}

// freeSlot finds a free slot, and makes room in all that is kept by slot if there is none.
func (c *Cluster) freeSlot() int32 {
	if len(c.nodes) < len(c.slots) {
		return int32(slices.Index(c.slots, nil))
	}
	c.slots = append(c.slots, nil)
	for _, t := range c.tallies {
		t.all, t.live = append(t.all, 0), append(t.live, 0)
	}
	for _, t := range c.topologies {
		t.of = append(t.of, -1)
	}
	return int32(len(c.slots) - 1)
}

// setNode takes over a node that is new or has changed.
func (c *Cluster) setNode(node *corev1.Node) {
	n := c.node(node.Name)
	old := n.Node
	c.countObstacles(n, -1)
	c.countImages(n, -1)
	if old == nil || !maps.Equal(old.Labels, node.Labels) {
		c.relabel(n, node)
	}
	n.set(node)
	c.countObstacles(n, 1)
	c.countImages(n, 1)
	if old == nil {
		c.names = append(c.names, node.Name)
	}
	if old == nil || topologylabels.GetZoneKey(old) != topologylabels.GetZoneKey(node) {
		c.order = nil
	}
}

func (c *Cluster) countObstacles(n *Node, sign int) {
	if n.Node != nil && n.Spec.Unschedulable {
		c.cordoned += sign
	}
	if len(n.hard) > 0 {
		c.tainted += sign
	}
}

// relabel moves the node to other values of the topology keys; node is nil if it has none any more. Its pods go along.
func (c *Cluster) relabel(n *Node, node *corev1.Node) {
	for _, p := range n.Pods {
		c.tallyPod(n, p, -1)
	}
	for key, t := range c.topologies {
		if n.Node != nil {
			t.leave(n.slot, n.Node, key)
		}
		if node != nil {
			t.join(n.slot, node, key)
		}
	}
	n.Node = node
	for _, p := range n.Pods {
		c.tallyPod(n, p, 1)
	}
}

func (c *Cluster) countImages(n *Node, sign int) {
	for name := range n.images {
		if c.images[name] += sign; c.images[name] == 0 {
			delete(c.images, name)
		}
	}
}

// removeNode forgets a node; its pods are kept until they are deleted themselves.
func (c *Cluster) removeNode(name string) {
	n := c.nodes[name]
	if n == nil || n.Node == nil {
		return
	}
	c.countObstacles(n, -1)
	c.countImages(n, -1)
	c.relabel(n, nil)
	n.images, n.hard, n.soft, n.Allocatable, n.MaxPods = nil, nil, nil, Amounts{}, 0
	c.names = slices.DeleteFunc(c.names, func(s string) bool { return s == name })
	c.order = nil
	c.forget(n)
}

// forget gives back the place of a node that is gone with all its pods.
func (c *Cluster) forget(n *Node) {
	if n.Node == nil && len(n.Pods) == 0 {
		delete(c.nodes, n.name)
		c.slots[n.slot] = nil
		*n = Node{}
	}
}

// setPod takes over a pod that is on a node, known or not.
func (c *Cluster) setPod(p *Pod) {
	old := c.pods[p.UID]
	if old != nil && old.Spec.NodeName == p.Spec.NodeName && old.labelKey == p.labelKey && old.terminating() == p.terminating() &&
		old.Requests.equal(&p.Requests) {
		old.Pod = p.Pod // nothing that is counted
		delete(c.assumed, p.UID)
		return
	}
	c.removePod(p.UID)
	n := c.node(p.Spec.NodeName)
	n.place(p)
	c.pods[p.UID] = p
	c.tallyPod(n, p, 1)
}

// assume takes over a pod that is going to be bound.
func (c *Cluster) assume(p *Pod) {
	c.setPod(p)
	c.assumed[p.UID] = true
}

// removePod forgets a pod; it reports the one that was known.
func (c *Cluster) removePod(uid types.UID) *Pod {
	p := c.pods[uid]
	if p == nil {
		return nil
	}
	n := c.nodes[p.Spec.NodeName]
	c.tallyPod(n, p, -1)
	n.displace(p)
	delete(c.pods, uid)
	delete(c.assumed, uid)
	c.forget(n)
	return p
}

// allGone reports that none of the pods is on a node any more.
func (c *Cluster) allGone(pods []*Pod) bool {
	return !slices.ContainsFunc(pods, func(p *Pod) bool { return c.pods[p.UID] != nil })
}

// known are the nodes that there are, interleaved by zone: one of each zone, then the second of each, and so on. So a
// cycle that looks at some nodes only looks at some of each zone.
func (c *Cluster) known() []*Node {
	if c.order != nil {
		return c.order
	}
	var zones []string
	byZone := map[string][]*Node{}
	for _, name := range c.names {
		n := c.nodes[name]
		zone := topologylabels.GetZoneKey(n.Node)
		if byZone[zone] == nil {
			zones = append(zones, zone)
		}
		byZone[zone] = append(byZone[zone], n)
	}
	c.order = make([]*Node, 0, len(c.names))
	for i := 0; len(c.order) < len(c.names); i++ {
		for _, zone := range zones {
			if in := byZone[zone]; i < len(in) {
				c.order = append(c.order, in[i])
			}
		}
	}
	return c.order
}
