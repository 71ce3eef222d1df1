package scheduler

import "container/heap"

// line is waiting pods in an order; each knows its place, so that it can leave.
type line struct {
	pods   []*Waiting
	before func(a, b *Waiting) bool
}

// Len, Less, Swap, Push and Pop are container/heap's.
func (l *line) Len() int           { return len(l.pods) }
func (l *line) Less(i, j int) bool { return l.before(l.pods[i], l.pods[j]) }
func (l *line) Swap(i, j int) {
	l.pods[i], l.pods[j] = l.pods[j], l.pods[i]
	l.pods[i].place, l.pods[j].place = i, j
}
func (l *line) Push(w any) {
	l.pods = append(l.pods, w.(*Waiting))
	w.(*Waiting).place = len(l.pods) - 1
}
func (l *line) Pop() any {
	last := len(l.pods) - 1
	w := l.pods[last]
	l.pods[last] = nil
	l.pods = l.pods[:last]
	return w
}

func (l *line) add(w *Waiting)    { heap.Push(l, w) }
func (l *line) remove(w *Waiting) { heap.Remove(l, w.place) }

// first is the one to come next; nil if there is none.
func (l *line) first() *Waiting {
	if len(l.pods) == 0 {
		return nil
	}
	return l.pods[0]
}
