package scheduler

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
	for i := range w.cycle.judges {
		if a, ok := w.cycle.judges[i].Judge.(Adjuster); ok {
			a.Adjust(&w.node, p, sign)
		}
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
