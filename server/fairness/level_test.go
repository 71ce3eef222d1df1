package fairness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crowd is users who each keep so many requests at a gate, every one of which takes so long.
type crowd struct {
	g     *Gate
	clock *clock
	users map[string]*greed
}

type greed struct {
	keeps int           // requests at a time
	work  Work          // of each
	takes time.Duration // each
	at    []*Ticket
	done  int
	had   float64 // seconds of a seat
}

// run lets time pass in steps of a millisecond.
func (c crowd) run(d time.Duration) {
	names := make([]string, 0, len(c.users))
	for name := range c.users {
		names = append(names, name)
	}
	slices.Sort(names)
	for range d / time.Millisecond {
		for _, name := range names {
			u := c.users[name]
			for len(u.at) < u.keeps {
				t, o := c.g.arrive(by(name, "crowd"), u.work)
				if o == refused {
					break
				}
				u.at = append(u.at, t)
			}
		}
		c.clock.pass(time.Millisecond)
		for _, name := range names {
			c.users[name].leave(c.g)
		}
	}
}

func (u *greed) leave(g *Gate) {
	u.at = slices.DeleteFunc(u.at, func(t *Ticket) bool {
		if t.stage != serving || g.now().Sub(t.started) < u.takes {
			return false
		}
		u.done++
		u.had += u.takes.Seconds() * float64(t.work.width())
		g.Leave(t)
		return true
	})
}

func TestFlowsOfOneLevelHaveEqualParts(t *testing.T) {
	for name, c := range map[string]struct {
		users map[string]*greed
		equal []string
	}{
		"whoever asks for more": {map[string]*greed{
			"much": {keeps: 90, work: Plain(), takes: 10 * time.Millisecond}, "little": {keeps: 40, work: Plain(), takes: 10 * time.Millisecond},
		}, []string{"much", "little"}},
		"whoever takes longer": {map[string]*greed{
			"long": {keeps: 40, work: Plain(), takes: 40 * time.Millisecond}, "short": {keeps: 40, work: Plain(), takes: 4 * time.Millisecond},
		}, []string{"long", "short"}},
		"whoever is wider": {map[string]*greed{
			"wide": {keeps: 20, work: Work{Seats: 5}, takes: 10 * time.Millisecond}, "narrow": {keeps: 40, work: Plain(), takes: 10 * time.Millisecond},
		}, []string{"wide", "narrow"}},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			g := gateOf(t, 20, clock, limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
			change(g, nil, limited("l", 1000, queuing(64, 1, 100)))
			crowd := crowd{g: g, clock: clock, users: c.users}
			crowd.run(20 * time.Second)
			a, b := c.users[c.equal[0]].had, c.users[c.equal[1]].had
			if a < 0.9*b || b < 0.9*a {
				t.Errorf("%s had %.1f, %s had %.1f seat-seconds", c.equal[0], a, c.equal[1], b)
			}
		})
	}
}

func TestAFloodLeavesOthersRoom(t *testing.T) {
	clock := newClock()
	g := gateOf(t, 10, clock, limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	change(g, nil, limited("l", 1000, queuing(64, 6, 50)))
	flood := &greed{keeps: 10_000, work: Plain(), takes: 100 * time.Millisecond}
	users := map[string]*greed{"flood": flood}
	for i := range 10 {
		users[fmt.Sprint("user-", i)] = &greed{keeps: 1, work: Plain(), takes: time.Millisecond}
	}
	c := crowd{g: g, clock: clock, users: users}
	c.run(10 * time.Second)
	if n := len(flood.at); n > 6*50+10 {
		t.Errorf("the flood has %d requests at the gate: more than its hand of queues holds", n)
	}
	for name, u := range users {
		if u.done < 50 { // a seat comes free every 10 ms, and there are 11 flows
			t.Errorf("%s: %d requests served in 10 s beside a flood", name, u.done)
		}
	}
}

func TestLevelsWithoutQueuesRefuse(t *testing.T) {
	g := gateOf(t, 10, newClock(), limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	var in []*Ticket
	for range 10 {
		ticket, o := g.arrive(by("u", "crowd"), Plain())
		if o != served {
			t.Fatalf("a request with a free seat: %v", o)
		}
		in = append(in, ticket)
	}
	if _, o := g.arrive(by("u", "crowd"), Plain()); o != refused {
		t.Errorf("the 11th of 10 seats: %v", o)
	}
	if _, o := g.arrive(by("m", "system:masters"), Plain()); o != served {
		t.Errorf("an exempt request: %v", o)
	}
	g.Leave(in[0])
	if _, o := g.arrive(by("u", "crowd"), Plain()); o != served {
		t.Errorf("after one has left: %v", o)
	}
}

func TestQueuesHaveALength(t *testing.T) {
	g := gateOf(t, 2, newClock(), limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	change(g, nil, limited("l", 1000, queuing(8, 2, 3)))
	var got [3]int
	for range 20 {
		_, o := g.arrive(by("u", "crowd"), Plain())
		got[o]++
	}
	if want := [3]int{served: 2, queued: 6, refused: 12}; got != want {
		t.Errorf("served, queued, refused: %v, want %v", got, want)
	}
}

func TestSeatsLingerAfterAWrite(t *testing.T) {
	clock := newClock()
	g := gateOf(t, 10, clock, limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	w := Work{Seats: 1, Final: 4, Linger: time.Second}
	ticket, _ := g.arrive(by("u", "crowd"), w)
	l := g.level(t, "l")
	if l.inUse != 4 {
		t.Errorf("%d seats taken, want those of the later part too", l.inUse)
	}
	linger, left := l.leave(ticket, clock.now())
	if linger != time.Second || !left || l.inUse != 4 || l.serving != 0 {
		t.Errorf("on leaving: %v %t, %d seats, %d served", linger, left, l.inUse, l.serving)
	}
	l.release(ticket, clock.now())
	if _, again := l.leave(ticket, clock.now()); l.inUse != 0 || again {
		t.Errorf("after release: %d seats; left twice: %t", l.inUse, again)
	}
}

func TestWiderThanTheLevel(t *testing.T) {
	g := gateOf(t, 4, newClock(), limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	change(g, nil, limited("l", 1000, queuing(8, 2, 3)))
	first, _ := g.arrive(by("a", "crowd"), Plain())
	wide, o := g.arrive(by("b", "crowd"), Work{Seats: 9})
	if o != queued {
		t.Fatalf("beside another: %v", o)
	}
	g.Leave(first)
	if wide.stage != serving {
		t.Error("alone, it is not served")
	}
}

// TestSeatsAndTicketsAddUp lets anything happen in any order, and looks at the invariants after each step.
func TestSeatsAndTicketsAddUp(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		clock := newClock()
		g := gateOf(t, 1+random.IntN(30), clock, limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
		change(g, nil, limited("l", 1000, queuing(1+random.Int32N(16), 1, 1+random.Int32N(5))))
		l := g.level(t, "l")
		limit := l.limit
		var at, lingering []*Ticket
		end := func(i int) *Ticket {
			ticket := at[i]
			at = slices.Delete(at, i, i+1)
			return ticket
		}
		arrived, ended, turnedAway := 0, 0, 0
		for range 400 {
			clock.pass(time.Duration(random.IntN(5)) * time.Millisecond)
			switch what := random.IntN(10); {
			case what < 5:
				w := Work{Seats: 1 + random.IntN(3)}
				if random.IntN(3) == 0 {
					w.Final, w.Linger = random.IntN(5), time.Duration(random.IntN(20))*time.Millisecond
				}
				arrived++
				if ticket, o := g.arrive(by(fmt.Sprint(random.IntN(8)), "crowd"), w); o != refused {
					at = append(at, ticket)
				} else {
					turnedAway++
				}
			case what < 9 && len(at) > 0:
				ticket := end(random.IntN(len(at)))
				ended++
				if l.giveUp(ticket, true, clock.now()) {
					break
				}
				if linger, _ := l.leave(ticket, clock.now()); linger > 0 {
					lingering = append(lingering, ticket)
				}
			case len(lingering) > 0:
				l.release(lingering[0], clock.now())
				lingering = lingering[1:]
			}
			if err := l.check(limit, at, lingering); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for _, ticket := range lingering {
			l.release(ticket, clock.now())
		}
		for len(at) > 0 { // everybody's turn comes
			for i := 0; i < len(at); i++ {
				if at[i].stage == serving {
					ticket := end(i)
					ended++
					if linger, _ := l.leave(ticket, clock.now()); linger > 0 {
						l.release(ticket, clock.now())
					}
				}
			}
			clock.pass(time.Millisecond)
		}
		if l.inUse != 0 || l.wanted != 0 || l.active != 0 || arrived != ended+turnedAway {
			t.Fatalf("seed %d: in the end %d seats in use, %d wanted, %d queues active; %d arrived, %d ended, %d were refused",
				seed, l.inUse, l.wanted, l.active, arrived, ended, turnedAway)
		}
	}
}

// check looks at a level's invariants.
func (l *configured) check(limit int, at, lingering []*Ticket) error {
	inUse, wanted, widest := 0, 0, 0
	active := map[*queue]bool{}
	for _, ticket := range at {
		active[ticket.queue] = true
		if ticket.stage == serving {
			inUse += ticket.work.width()
			widest = max(widest, ticket.work.width())
		} else {
			wanted += ticket.work.width()
		}
	}
	for _, ticket := range lingering {
		inUse += ticket.work.width()
		widest = max(widest, ticket.work.width())
	}
	got := []int{l.inUse, l.wanted, l.active}
	if want := []int{inUse, wanted, len(active)}; !slices.Equal(got, want) {
		return fmt.Errorf("seats in use and wanted, active queues: %s", cmp.Diff(want, got))
	}
	// A request as wide as the level or wider may be let in while others linger: it is alone among those served.
	if inUse > limit && widest <= limit && len(lingering) == 0 {
		return fmt.Errorf("%d seats in use of %d", inUse, limit)
	}
	if l.waiting > 0 && l.inUse < l.limit {
		if first := l.queues[l.turn()].waiting.first; l.fits(first.work.width()) {
			return fmt.Errorf("a request of %d seats waits, with %d of %d in use", first.work.width(), l.inUse, l.limit)
		}
	}
	return nil
}

// TestEveryRequestEnds runs goroutines through a real gate while its configuration changes.
func TestEveryRequestEnds(t *testing.T) {
	clock := newClock()
	g := gateOf(t, 8, clock, limited("l", 1000), limited("catch-all", 0), schemaFor("s", "l", "crowd", 100))
	g.now = time.Now
	var here, most, letIn, turnedAway atomic.Int64
	var users sync.WaitGroup
	for u := range 64 {
		users.Go(func() {
			r := by(fmt.Sprint(u), "crowd")
			for range 50 {
				var ticket Ticket
				if !g.Enter(t.Context(), &ticket, g.Classify(r), r, Plain(), time.Now().Add(20*time.Millisecond)) {
					turnedAway.Add(1)
					continue
				}
				letIn.Add(1)
				most.Store(max(most.Load(), here.Add(1)))
				here.Add(-1)
				g.Leave(&ticket)
				g.Leave(&ticket)
			}
		})
	}
	for i := range int32(50) {
		change(g, nil, limited("l", 1000, queuing(1+i%7, 1+i%2*(i%7/6), 10)))
		g.Adjust()
	}
	users.Wait()
	if letIn.Load()+turnedAway.Load() != 64*50 || most.Load() > 8+1 { // +1: here is counted after the seat is given
		t.Errorf("%d let in, %d turned away; at most %d of 8 at a time", letIn.Load(), turnedAway.Load(), most.Load())
	}
	if l := g.level(t, "l"); !l.idle() || l.inUse != 0 {
		t.Errorf("%d seats are still in use", l.inUse)
	}
}

func TestWaitsEnd(t *testing.T) {
	g := New(1)
	change(g, nil, limited("l", 1000, queuing(8, 2, 30)))
	change(g, nil, limited("catch-all", 0))
	change(g, nil, schemaFor("s", "l", "crowd", 100))
	r := by("u", "crowd")
	var first Ticket
	s := g.Classify(r)
	if !g.Enter(t.Context(), &first, s, r, Plain(), time.Now()) {
		t.Fatal("no seat for the first")
	}
	var second, third Ticket
	if g.Enter(t.Context(), &second, s, r, Plain(), time.Now().Add(time.Millisecond)) {
		t.Error("a second seat of one")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if g.Enter(gone, &third, s, r, Plain(), time.Now().Add(time.Hour)) {
		t.Error("a seat for a client that has gone")
	}
	l := g.level(t, "l")
	if want := (fate{served: 1, refused: 2, timedOut: 1, cancelled: 1}); l.fate != want {
		t.Errorf("%+v, want %+v", l.fate, want)
	}
	g.Leave(&first)
	g.Leave(&second)
}

func BenchmarkEnterAndLeave(b *testing.B) {
	g := New(600)
	change(g, nil, limited("l", 100, queuing(128, 6, 50)))
	for i := range 12 {
		change(g, nil, schemaFor(fmt.Sprint("schema-", i), "l", fmt.Sprint("group-", i), int32(100*i)))
	}
	for name, r := range map[string]struct{ user, group string }{"exempt": {"admin", "system:masters"}, "queues": {"user", "group-11"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(run *testing.PB) {
				q := by(r.user, "system:authenticated", r.group)
				for run.Next() {
					var ticket Ticket
					if !g.Enter(b.Context(), &ticket, g.Classify(q), q, Plain(), time.Time{}) {
						b.Error("refused")
					}
					g.Leave(&ticket)
				}
			})
		})
	}
}
