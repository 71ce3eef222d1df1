package fairness

import (
	"time"

	"github.com/knarr-dev/knarr/registry"
)

// Work is what a request is expected to take of its level.
type Work struct {
	Seats int // while it is served
	// Final seats are taken for Linger after the answer, for work that goes on then: a write's watchers are told.
	Final  int
	Linger time.Duration
}

// width is how many seats a request has to find: enough for either part.
func (w Work) width() int { return max(w.Seats, w.Final) }

// expectedService is how long a request is taken to be served for until it is known. What it was too much, or too little,
// is made up for when the request is done.
const expectedService = 3 * time.Millisecond

// total is the work in seconds of a seat.
func (w Work) total() float64 { return float64(w.Seats)*expectedService.Seconds() + w.after() }

func (w Work) after() float64 { return float64(w.Final) * w.Linger.Seconds() }

// narrow makes what comes after the answer fit into so many seats, and last the longer.
func (w Work) narrow(seats int) Work {
	if w.Final > seats && seats > 0 {
		w.Linger = time.Duration(w.after() / float64(seats) * float64(time.Second))
		w.Final = seats
	}
	return w
}

// Ticket is one request's way through its level. The zero value is one that nobody has entered with; each is for one
// request.
type Ticket struct {
	schema  *Schema
	request *registry.Attributes
	flow    string // its distinguisher
	work    Work
	queue   *queue
	ready   chan struct{} // closed when it is served; nil if it has never waited

	// What follows is guarded by the level's lock.
	stage            stage
	arrived, started time.Time
	mark             float64 // the level's meter on arrival
	prev, next       *Ticket // in the list of its stage
}

// stage is how far a ticket has come.
type stage int8

const (
	outside  stage = iota // not entered, or refused
	waiting               // in its queue
	serving               // it has seats
	finished              // or given up
)

// line is a list of tickets in order of arrival; tickets leave from anywhere.
type line struct {
	first, last *Ticket
	length      int
}

func (l *line) add(t *Ticket) {
	t.prev, t.next = l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.length++
}

func (l *line) remove(t *Ticket) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.prev, t.next = nil, nil
	l.length--
}
