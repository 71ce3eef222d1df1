package fairness

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Gate lets requests in.
type Gate struct {
	seats int
	now   func() time.Time
	hash  func(schema, flow string) uint64

	current atomic.Pointer[configuration] // read without locks

	mu      sync.Mutex // orders changes of the configuration, and guards what follows
	levels  map[string]*flowcontrolv1.PriorityLevelConfiguration
	schemas map[string]*flowcontrolv1.FlowSchema
}

// New returns a gate with so many seats for all levels together. It begins with what is mandatory; Follow teaches it
// the rest.
func New(seats int) *Gate { return newGate(seats, time.Now) }

func newGate(seats int, now func() time.Time) *Gate {
	g := &Gate{seats: seats, now: now, hash: flowHash(),
		levels: map[string]*flowcontrolv1.PriorityLevelConfiguration{}, schemas: map[string]*flowcontrolv1.FlowSchema{}}
	g.current.Store(&configuration{})
	g.reconfigure()
	return g
}

// Follow takes the configuration from the API's objects, as it is and as it changes. An error tells that some could not be
// read yet; they will be taken in once they can.
func (g *Gate) Follow(ctx context.Context, o registry.Objects) error {
	levels := o.Follow(ctx, flowcontrolv1.GroupName, "prioritylevelconfigurations", func(old, now registry.Object) {
		follow(g, g.levels, old, now)
	})
	schemas := o.Follow(ctx, flowcontrolv1.GroupName, "flowschemas", func(old, now registry.Object) {
		follow(g, g.schemas, old, now)
	})
	return errors.Join(levels, schemas)
}

// follow takes in one change of one object. A new status changes nothing.
func follow[O registry.Object](g *Gate, objects map[string]O, old, now registry.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now == nil {
		delete(objects, old.GetName())
	} else {
		objects[now.GetName()] = now.(O)
		if old != nil && old.GetUID() == now.GetUID() && old.GetGeneration() == now.GetGeneration() {
			return
		}
	}
	g.reconfigure()
}

// reconfigure is for those who hold g.mu, or have g alone.
func (g *Gate) reconfigure() {
	levels, schemas := slices.Collect(maps.Values(g.levels)), slices.Collect(maps.Values(g.schemas))
	g.current.Store(g.current.Load().configure(levels, schemas, g.seats, g.now()))
}

// Adjust lets levels lend and borrow seats, by what they have needed since the last time. Call it every AdjustPeriod.
func (g *Gate) Adjust() {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.current.Load()
	for _, l := range c.levels {
		if l.retiring && l.idle() {
			g.reconfigure()
			return
		}
	}
	c.share(g.now())
}

// Classify finds the schema of a request.
func (g *Gate) Classify(r *registry.Attributes) *Schema { return g.current.Load().find(r) }

// Enter gives a request its seats, for which it may have to wait: no longer than to the time until, nor than ctx lasts.
// It returns false if there were none; else the ticket has to Leave. The gate keeps r while the request is in.
func (g *Gate) Enter(ctx context.Context, t *Ticket, s *Schema, r *registry.Attributes, w Work, until time.Time) bool {
	t.schema, t.request, t.work = s, r, w
	var hash uint64
	if s.queues {
		t.flow = s.distinguisher(r)
		hash = g.hash(s.name, t.flow)
	}
	now := g.now()
	switch s.level.arrive(t, hash, now) {
	case served:
		return true
	case refused:
		return false
	}
	return g.wait(ctx, t, until.Sub(now))
}

// wait waits for seats.
func (g *Gate) wait(ctx context.Context, t *Ticket, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	timedOut := false
	select {
	case <-t.ready:
		return true
	case <-ctx.Done():
		timedOut = context.Cause(ctx) == context.DeadlineExceeded
	case <-timer.C:
		timedOut = true
	}
	return !t.schema.level.giveUp(t, timedOut, g.now())
}

// Leave gives the seats back, at once or when the work after the answer is taken to be done. It does nothing if the
// request has none, or has left before.
func (g *Gate) Leave(t *Ticket) {
	if t.schema == nil {
		return
	}
	l := t.schema.level
	if linger, left := l.leave(t, g.now()); left && linger > 0 {
		time.AfterFunc(linger, func() { l.release(t, g.now()) })
	}
}

// RetryAfter is what to tell those who were refused, in seconds.
func (s *Schema) RetryAfter() int64 {
	s.level.mu.Lock()
	defer s.level.mu.Unlock()
	return s.level.backoff.seconds()
}
