package scheduler

import (
	"maps"
	"math/bits"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Waiting is a pod without a node.
type Waiting struct {
	*Pod
	profile  *profile
	since    time.Time // when it came into the queue this time
	first    time.Time // when it was looked at first
	looked   time.Time // and last
	known    uint64    // what had happened then
	until    time.Time // end of its back-off
	attempts int
	failures int // no node would do; back-off grows with them
	errors   int // in a row: something went wrong
	// refusers are the plugins that refused it the last time: events wake it that may change their mind.
	refusers map[string]struct{}
	// called says that such an event came while a gate was closed.
	called bool
	state  state
	place  int // in its line
	// promised is the node that it has been nominated for.
	promised string
	// awaited is the nomination that was written and does not show yet; nil if there is none.
	awaited *string
	bound   bool // the API has bound it, which may not have been seen yet
	// reported is closed when what was said about the last attempt is written: no later write may come before it.
	reported chan struct{}
}

// state is where a waiting pod is.
type state int

const (
	absent   state = iota
	active         // in line for the next cycle
	backoff        // in line for the end of its back-off; taken before if nobody else waits
	broken         // likewise after an error, and never taken before
	parked         // no node will do until something happens, or long enough
	gated          // a plugin does not let it in
	inFlight       // in a cycle, or being bound
)

// backoffWindow is the time within which all back-offs end together. So an event that makes room, and wakes pods that were
// refused one after the other, gives it to the most important of them.
const backoffWindow = time.Second

// parkedAtMost bounds the harm of an event that was not understood to help.
const parkedAtMost = 5 * time.Minute

// queue is all pods without a node.
//
//	add -> gates -> active -> cycle -> bound
//	         ^         ^         |
//	         |         |         v
//	       gated    backoff <- parked <- (refused)
//
// A refused pod is parked until an event comes that one of the plugins that refused it thinks may help. If its back-off
// is over by then, it is active at once.
type queue struct {
	pods    map[types.UID]*Waiting
	active  line
	backoff line
	broken  line
	parked  map[types.UID]*Waiting
	refused map[string]int // parked pods by plugin that refused them
	// promises are pods nominated for a node, by node.
	promises map[string][]*Waiting
	gated    int // how many are
	// events counts what has happened, and latest is when it last was of each kind: for pods that are looked at meanwhile.
	events   uint64
	latest   [32]uint64
	arrivals map[arrival]int
	wakenBy  func(plugin string) Kind
	now      func() time.Time
	// Back-off begins with the first and doubles up to the last.
	firstBackoff, lastBackoff time.Duration
}

// arrival is of a pod in a part of the queue, and what brought it there, in upstream's words.
type arrival struct{ queue, event string }

// What brings pods, other than events and their own changes.
const (
	byComing  = "UnschedulablePodAdd"
	byFailure = "ScheduleAttemptFailure"
	byTime    = "BackoffComplete"
	byTimeout = "UnschedulableTimeout"
	byHunger  = "PopFromBackoffQ" // nobody else was there
	byForce   = "ForceActivate"
)

func newQueue(now func() time.Time, wakenBy func(string) Kind) *queue {
	bySort := func(a, b *Waiting) bool { return a.profile.sorter.Before(a, b) }
	byEnd := func(a, b *Waiting) bool { return a.until.Before(b.until) }
	return &queue{
		pods: map[types.UID]*Waiting{}, parked: map[types.UID]*Waiting{}, refused: map[string]int{}, promises: map[string][]*Waiting{}, now: now,
		arrivals: map[arrival]int{},
		wakenBy:  wakenBy,
		active:   line{before: bySort},
		backoff:  line{before: func(a, b *Waiting) bool { return byEnd(a, b) || !byEnd(b, a) && bySort(a, b) }},
		broken:   line{before: byEnd},
	}
}

// add takes in a pod that is new, or a new version of one that is here.
func (q *queue) add(p *Pod, profile *profile) {
	w := q.pods[p.UID]
	if w == nil {
		w = &Waiting{Pod: p, profile: profile, since: q.now()}
		q.pods[p.UID] = w
		q.promise(w, p.Status.NominatedNodeName)
		q.enter(w, byComing)
		return
	}
	old := w.Pod
	w.Pod = p
	q.heed(w, old.Status.NominatedNodeName, p.Status.NominatedNodeName)
	switch w.state {
	case gated:
		if w.isLetIn() {
			q.move(w, active, ownChange(old, p))
		}
	case parked:
		if e := selfChange(old, p); e != nil && w.isHelped(e) {
			q.requeue(w, ownChange(old, p))
		}
	case active:
		q.active.remove(w)
		q.active.add(w)
	}
}

// enter lets a pod become active if no gate is closed.
func (q *queue) enter(w *Waiting, by string) {
	if w.isLetIn() {
		q.move(w, active, by)
	} else {
		q.move(w, gated, by)
	}
}

// isLetIn reports that no gate is closed.
func (w *Waiting) isLetIn() bool {
	return !slices.ContainsFunc(w.profile.gates, func(g gateOf) bool { return g.plugin.Admit(w.Pod) != nil })
}

// move puts a pod into another state, and into the line that belongs to it.
func (q *queue) move(w *Waiting, to state, by string) {
	switch w.state {
	case gated:
		q.gated--
	case active:
		q.active.remove(w)
	case backoff:
		q.backoff.remove(w)
	case broken:
		q.broken.remove(w)
	case parked:
		delete(q.parked, w.UID)
		q.countRefusers(w, -1)
	}
	w.state = to
	switch to {
	case active:
		q.active.add(w)
		q.arrivals[arrival{"active", by}]++
	case backoff:
		q.backoff.add(w)
		q.arrivals[arrival{"backoff", by}]++
	case broken:
		q.broken.add(w)
		q.arrivals[arrival{"backoff", by}]++
	case parked:
		q.parked[w.UID] = w
		q.countRefusers(w, 1)
		q.arrivals[arrival{"unschedulable", by}]++
	case gated:
		q.gated++
		q.arrivals[arrival{"unschedulable", by}]++
	}
}

func (q *queue) countRefusers(w *Waiting, sign int) {
	for name := range w.refusers {
		q.refused[name] += sign
	}
}

// remove forgets a pod.
func (q *queue) remove(uid types.UID) {
	if w := q.pods[uid]; w != nil {
		q.move(w, absent, "")
		q.promise(w, "")
		delete(q.pods, uid)
	}
}

// pop is the next pod to look at; nil if all have to wait.
func (q *queue) pop() *Waiting {
	w := q.active.first()
	if w == nil {
		if w = q.backoff.first(); w != nil {
			q.arrivals[arrival{"active", byHunger}]++
		}
	}
	if w == nil {
		return nil
	}
	q.move(w, inFlight, "")
	w.attempts++
	w.looked, w.known = q.now(), q.events
	if w.attempts == 1 {
		w.first = w.looked
	}
	return w
}

// refuse puts back a pod that no node would do for.
func (q *queue) refuse(w *Waiting, refusers map[string]struct{}) {
	if q.pods[w.UID] != w || w.state != inFlight {
		return
	}
	if len(refusers) == 0 {
		q.fail(w)
		return
	}
	w.refusers, w.since, w.errors = refusers, q.now(), 0
	w.failures++
	w.until = q.backoffEnd(w.failures)
	q.move(w, parked, byFailure)
}

// fail puts back a pod that something went wrong with.
func (q *queue) fail(w *Waiting) {
	if q.pods[w.UID] != w || w.state != inFlight {
		return
	}
	w.refusers, w.since = nil, q.now()
	w.errors++
	w.until = q.backoffEnd(w.errors)
	q.move(w, broken, byFailure)
}

// backoffEnd is when a back-off is over that begins now: at the end of a window.
func (q *queue) backoffEnd(times int) time.Time {
	return q.now().Add(q.backoffAfter(times)).Truncate(backoffWindow).Add(backoffWindow)
}

func (q *queue) backoffAfter(times int) time.Duration {
	d := q.firstBackoff
	for i := 1; i < times && d < q.lastBackoff; i++ {
		d *= 2
	}
	return min(d, q.lastBackoff)
}

// requeue lets a parked pod try again: now, or at the end of its back-off.
func (q *queue) requeue(w *Waiting, by string) {
	w.called = !w.isLetIn()
	if w.called {
		return
	}
	if w.until.After(q.now()) {
		q.move(w, backoff, by)
	} else {
		q.move(w, active, by)
	}
}

// happened wakes the pods that an event may help.
func (q *queue) happened(e *Event) {
	q.events++
	for kinds := uint32(e.Kind); kinds != 0; kinds &= kinds - 1 {
		q.latest[bits.TrailingZeros32(kinds)] = q.events
	}
	if len(q.parked) == 0 || !q.concerns(e) {
		return
	}
	for _, w := range slices.Collect(maps.Values(q.parked)) {
		if w.isHelped(e) {
			q.requeue(w, e.name())
		}
	}
}

// missed reports that something has happened since a pod was looked at that may help one whom a plugin refuses.
func (q *queue) missed(w *Waiting, refuser string) bool {
	for kinds := uint32(q.wakenBy(refuser)); kinds != 0; kinds &= kinds - 1 {
		if q.latest[bits.TrailingZeros32(kinds)] > w.known {
			return true
		}
	}
	return false
}

// concerns reports whether any plugin that has refused a parked pod cares for such events.
func (q *queue) concerns(e *Event) bool {
	for name, pods := range q.refused {
		if pods > 0 && q.wakenBy(name)&e.Kind != 0 {
			return true
		}
	}
	return false
}

// isHelped asks the plugins that refused a pod.
func (w *Waiting) isHelped(e *Event) bool {
	for name := range w.refusers {
		waker := w.profile.wakers[name]
		if waker == nil || waker.WakenBy()&e.Kind != 0 && waker.Helps(e, w.Pod) {
			return true
		}
	}
	return false
}

// flush does what is due: back-offs end, and pods that were parked for long try again.
func (q *queue) flush() {
	now := q.now()
	for _, l := range []*line{&q.backoff, &q.broken} {
		for w := l.first(); w != nil && !w.until.After(now); w = l.first() {
			q.enter(w, byTime)
		}
	}
	for _, w := range slices.Collect(maps.Values(q.parked)) {
		if now.Sub(w.since) > parkedAtMost {
			q.requeue(w, byTimeout)
		}
	}
}

// heed takes over a nomination that the API shows: but until it shows our own last word, it is behind.
func (q *queue) heed(w *Waiting, before, now string) {
	switch {
	case w.awaited != nil:
		if *w.awaited == now {
			w.awaited = nil
		}
	case before != now && w.state != inFlight: // one that is being bound is on its node already
		q.promise(w, now)
	}
}

// promise nominates a pod for a node; an empty name takes the nomination back.
func (q *queue) promise(w *Waiting, node string) {
	if w.promised == node {
		return
	}
	if w.promised != "" {
		left := slices.DeleteFunc(q.promises[w.promised], func(o *Waiting) bool { return o == w })
		if q.promises[w.promised] = left; len(left) == 0 {
			delete(q.promises, w.promised)
		}
	}
	w.promised = node
	if node != "" {
		q.promises[node] = append(q.promises[node], w)
	}
}
