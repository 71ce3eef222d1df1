package fairness

import (
	"math"
	"sync"
	"time"
)

// level is a priority level: its seats, who has them, and who waits for them.
//
// Fair queuing. The level's meter runs, by the seconds that seats are in use, at the speed at which each queue that has
// requests would advance if all were served at once and equally. A queue's own meter, next, says when (by the level's)
// its first request would begin; it would finish by its work later. The queue with the earliest finish has its turn,
// and its meter moves on by the work of what it was served: a queue that has had more than its part is ahead of the
// others, and has to wait until they have caught up. What a request really took corrects its queue's meter at the end.
// A queue cannot save up: its next request never begins before it arrived.
type level struct {
	name string

	mu      sync.Mutex // guards all that follows
	limits  limits
	limit   int      // seats to be had now: of the limits, adjusted by what is lent and borrowed
	queues  []*queue // those of limits.queues, and behind them any that have to empty yet
	hall    queue    // of requests that never wait, in levels without queues
	deals   int      // requests that were dealt hands so far
	lastOut int      // the queue that was served last; the next search begins behind it

	serving, waiting int // requests
	inUse, wanted    int // seats that requests have (and what remains of done ones), and that waiting ones want
	active           int // queues with requests

	meter   float64 // in seconds of a seat for each queue
	metered time.Time
	demand  demand
	fate    fate
	backoff backoff
	tallies map[string]*tally // by schema
}

// limits are what the configuration says of a level.
type limits struct {
	exempt                     bool // nobody is refused or has to wait
	queues, hand, length       int  // no queues: who finds no seat is refused
	nominal, lowest, highest   int  // seats: by share, if all that may be is lent, if all that may be is borrowed
	shares, lendable, borrowed int  // as configured: shares, and percents of the nominal seats; borrowed < 0: no limit
	uid                        string
}

// queue is one of a level's.
type queue struct {
	waiting, serving line
	inUse, wanted    int     // seats
	work             float64 // of those waiting
	next             float64 // the level's meter at which the next request would begin
}

func (q *queue) idle() bool { return q.waiting.length == 0 && q.serving.length == 0 }

func newLevel(name string, now time.Time) *level {
	return &level{name: name, metered: now, demand: demand{since: now, at: now}, tallies: map[string]*tally{}}
}

// outcome is what becomes of an arrival.
type outcome int8

const (
	served outcome = iota
	queued
	refused
)

// arrive finds seats for a request, or a place to wait for them. hash stands for its flow.
func (l *level) arrive(t *Ticket, hash uint64, now time.Time) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	t.arrived, t.mark = now, l.meter
	t.schema.tally.expect(t.work)
	if l.limits.queues == 0 {
		t.queue = &l.hall
		if !l.fits(t.work.width()) {
			return l.refuse(t, concurrencyLimit, now)
		}
		l.enlist(t)
		l.serve(t, now)
		l.measure(now)
		return served
	}
	t.queue = l.choose(hash)
	if l.inUse >= l.limit && t.queue.waiting.length >= l.limits.length {
		return l.refuse(t, queueFull, now)
	}
	l.enlist(t)
	if l.waiting == 0 && l.inUse < l.limit && l.fits(t.work.width()) {
		l.serve(t, now)
	} else {
		l.enqueue(t)
		l.dispatch(now)
	}
	l.measure(now)
	if t.stage == serving {
		return served
	}
	return queued
}

// refuse notes that a request was turned away.
func (l *level) refuse(t *Ticket, why reason, now time.Time) outcome {
	l.fate.refused++
	t.schema.tally.refused[why]++
	l.backoff.refused(now.Unix())
	return refused
}

// advance brings the meter up to now. It has to come before any change: until then all has been as it is.
func (l *level) advance(now time.Time) {
	if l.active > 0 {
		speed := float64(min(l.inUse+l.wanted, l.limit)) / float64(l.active)
		l.meter += speed * now.Sub(l.metered).Seconds()
	} else {
		l.meter = 0 // no queue's meter counts now, and small numbers are exact
	}
	l.metered = now
}

// measure notes how many seats could be used.
func (l *level) measure(now time.Time) { l.demand.set(float64(l.inUse+l.wanted), now) }

// choose returns the queue of a flow's hand with the least work waiting.
func (l *level) choose(hash uint64) *queue {
	var cards hand
	dealt := cards.deal(hash, l.limits.queues, l.limits.hand)
	l.deals++
	var best *queue
	for i := range dealt {
		q := l.queues[dealt[(l.deals+i)%len(dealt)]] // not always the same first: all may be equal
		if best == nil || q.work < best.work {
			best = q
		}
	}
	return best
}

// fits reports whether there are so many seats. A request that is wider than the level has to be alone.
func (l *level) fits(width int) bool {
	switch {
	case l.limits.exempt:
		return true
	case width > l.limit:
		return l.serving == 0
	}
	return l.inUse+width <= l.limit
}

// enlist makes a request one of its queue's; a queue that had none begins now.
func (l *level) enlist(t *Ticket) {
	if t.queue.idle() {
		t.queue.next = l.meter
		l.active++
	}
}

// enqueue lets a request wait.
func (l *level) enqueue(t *Ticket) {
	t.stage, t.ready = waiting, make(chan struct{})
	q, width := t.queue, t.work.width()
	q.waiting.add(t)
	q.work += t.work.total()
	q.wanted += width
	l.waiting++
	l.wanted += width
	t.schema.tally.queue(width, q.waiting.length)
	l.bound(q)
}

// dequeue takes a request out of its queue.
func (l *level) dequeue(t *Ticket) {
	q, width := t.queue, t.work.width()
	q.waiting.remove(t)
	q.wanted -= width
	if q.work -= t.work.total(); q.waiting.length == 0 {
		q.work = 0 // rid of what rounding has left
	}
	l.waiting--
	l.wanted -= width
	t.schema.tally.unqueue(width)
}

// bound keeps a queue from saving up turns that it had no use for.
func (l *level) bound(q *queue) {
	if first := q.waiting.first; first != nil {
		q.next = max(q.next, first.mark)
	}
}

// dispatch serves requests for as long as the one whose turn it is finds seats.
func (l *level) dispatch(now time.Time) {
	for l.waiting > 0 && l.inUse < l.limit {
		i := l.turn()
		t := l.queues[i].waiting.first
		if !l.fits(t.work.width()) {
			t.schema.tally.unfit++
			return
		}
		l.lastOut = i
		l.dequeue(t)
		t.work = t.work.narrow(l.limit)
		l.serve(t, now)
		close(t.ready)
	}
}

// turn finds the queue whose first request would finish earliest; among equals, the first behind the one served last.
func (l *level) turn() int {
	best, earliest := -1, math.Inf(1)
	for i := range l.queues {
		at := (l.lastOut + 1 + i) % len(l.queues)
		if q := l.queues[at]; q.waiting.first != nil {
			if finish := q.next + q.waiting.first.work.total(); finish < earliest {
				best, earliest = at, finish
			}
		}
	}
	return best
}

// serve gives a request its seats.
func (l *level) serve(t *Ticket, now time.Time) {
	q, width := t.queue, t.work.width()
	t.stage, t.started = serving, now
	q.serving.add(t)
	q.inUse += width
	q.next += t.work.total()
	l.bound(q)
	l.serving++
	l.inUse += width
	l.fate.served++
	t.schema.tally.serve(width, now.Sub(t.arrived))
}

// leave ends a request that was served. Its seats remain taken for as long as it returns; then release gives them back.
// It returns false if the request has left before.
func (l *level) leave(t *Ticket, now time.Time) (linger time.Duration, left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.stage != serving {
		return 0, false
	}
	l.advance(now)
	t.stage = finished
	q, took := t.queue, now.Sub(t.started)
	q.serving.remove(t)
	q.next += float64(t.work.Seats) * (took - expectedService).Seconds()
	l.bound(q)
	l.serving--
	if q.idle() {
		l.active--
	}
	t.schema.tally.finish(t.request.Verb == "watch", took)
	if t.work.Linger > 0 {
		l.dispatch(now) // what is wider than the level waits until nobody is served
		l.measure(now)
		return t.work.Linger, true
	}
	l.free(t, now)
	return 0, true
}

// release gives back the seats of a request that has left.
func (l *level) release(t *Ticket, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	l.free(t, now)
}

// free gives seats to who waits for them.
func (l *level) free(t *Ticket, now time.Time) {
	width := t.work.width()
	t.queue.inUse -= width
	l.inUse -= width
	t.schema.tally.seats -= width
	l.trim()
	l.dispatch(now)
	l.measure(now)
}

// giveUp takes a request out of its queue that has waited for long enough. It returns false if it is being served.
func (l *level) giveUp(t *Ticket, timedOut bool, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.stage != waiting {
		return false
	}
	l.advance(now)
	t.stage = finished
	l.dequeue(t)
	l.bound(t.queue)
	if t.queue.idle() {
		l.active--
	}
	if l.fate.cancelled++; timedOut {
		l.fate.cancelled--
		l.fate.timedOut++
	}
	t.schema.tally.giveUp(now.Sub(t.arrived))
	l.refuse(t, timeOut, now)
	l.trim()
	l.dispatch(now) // who stood behind it may be narrower
	l.measure(now)
	return true
}

// reform changes what the configuration says. Queues that are no longer wanted get no new requests and go when they are
// empty.
func (l *level) reform(to limits, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	l.limits = to
	for len(l.queues) < to.queues {
		l.queues = append(l.queues, &queue{})
	}
	l.trim()
}

// resize sets the seats that there are to be had.
func (l *level) resize(limit int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	l.limit = limit
	l.dispatch(now)
	l.measure(now)
}

// trim removes empty queues that are too many.
func (l *level) trim() {
	for n := len(l.queues); n > l.limits.queues && l.queues[n-1].idle() && l.queues[n-1].inUse == 0; n-- {
		l.queues = l.queues[:n-1]
	}
	if l.lastOut >= len(l.queues) {
		l.lastOut = 0
	}
}

// idle reports whether nobody is served or waits.
func (l *level) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serving == 0 && l.waiting == 0
}
