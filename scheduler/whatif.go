package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// whatIf is a node with pods more and pods less, in thought. The judges of the cycle are told of each change and told of
// its opposite at the end, so that one overlay at a time costs no copy of what they have counted.
type whatIf struct {
	cycle *Cycle
	node  Node
	done  []step
}

type step struct {
	pod  *Pod
	sign int32
}

// whatIf begins to think about a node. There is one thought at a time in a cycle: it ends with undo.
func (c *Cycle) whatIf(n *Node) *whatIf {
	w := &c.thought
	w.cycle, w.done = c, w.done[:0]
	w.node.copyFrom(n)
	return w
}

func (w *whatIf) add(p *Pod)    { w.do(p, 1) }
func (w *whatIf) remove(p *Pod) { w.do(p, -1) }

func (w *whatIf) do(p *Pod, sign int32) {
	w.step(p, sign)
	w.done = append(w.done, step{p, sign})
}

func (w *whatIf) step(p *Pod, sign int32) {
	w.cycle.classOf(p)
	if sign > 0 {
		w.node.place(p)
	} else {
		w.node.displace(p)
	}
	for _, a := range w.cycle.adjusters {
		a.Adjust(&w.node, p, sign)
	}
}

// judge is the judges' word on the node as it would be, also when the pods that were promised a place there, and come
// first, are there. It has to do without them as well: they may never come, and affinity must not rest on them.
func (w *whatIf) judge() *Refusal {
	before := len(w.done)
	for _, p := range w.cycle.promises[w.node.name] {
		if p.UID != w.cycle.Pod.UID && p.priority() >= w.cycle.Pod.priority() {
			w.add(p.Pod)
		}
	}
	if len(w.done) > before {
		refusal := w.cycle.judgeAsIs(&w.node)
		w.undoTo(before)
		if refusal != nil {
			return refusal
		}
	}
	return w.cycle.judgeAsIs(&w.node)
}

// undo leaves the cycle as it was.
func (w *whatIf) undo() { w.undoTo(0) }

func (w *whatIf) undoTo(mark int) {
	for i := len(w.done) - 1; i >= mark; i-- {
		w.step(w.done[i].pod, -w.done[i].sign)
	}
	w.done = w.done[:mark]
}

// supposition is another world in thought: without pods, with others, and with nodes that are different. Unlike whatIf, it
// is of all nodes at once, and judges are appointed in it. What was done is undone in the mirrored order, before the
// scheduler's lock is given back.
type supposition struct {
	cluster *Cluster
	undoing []func()
}

func (s *Scheduler) supposing() *supposition { return &supposition{cluster: s.cluster} }

func (s *supposition) undo() {
	for i := len(s.undoing) - 1; i >= 0; i-- {
		s.undoing[i]()
	}
	s.undoing = nil
}

// remove takes a pod away.
func (s *supposition) remove(uid types.UID) {
	c := s.cluster
	assumed := c.assumed[uid]
	p := c.pods[uid]
	if p == nil {
		return
	}
	n := c.nodes[p.Spec.NodeName]
	at := slices.Index(n.Pods, p)
	c.removePod(uid)
	s.undoing = append(s.undoing, func() {
		c.setPod(p)
		n := c.nodes[p.Spec.NodeName]
		last := len(n.Pods) - 1
		n.Pods = slices.Insert(n.Pods[:last], min(at, last), p) // where it was
		if assumed {
			c.assumed[uid] = true
		}
	})
}

// place puts a pod onto a node.
func (s *supposition) place(p *Pod, node string) {
	placed := p.on(node)
	s.cluster.setPod(placed)
	s.undoing = append(s.undoing, func() { s.cluster.removePod(placed.UID) })
}

// change makes a node different.
func (s *supposition) change(n *Node, how func(*corev1.Node)) {
	before := n.Node
	other := before.DeepCopy()
	how(other)
	s.cluster.setNode(other)
	s.undoing = append(s.undoing, func() { s.cluster.setNode(before) })
}
