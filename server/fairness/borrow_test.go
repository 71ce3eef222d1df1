package fairness

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestSharesAndBounds(t *testing.T) {
	g := gateOf(t, 600, newClock(),
		limited("system", 30, lending(33)), limited("node-high", 40, lending(25)), limited("leader-election", 10, lending(0)), limited("workload-high", 40, lending(50)),
		limited("workload-low", 100, lending(90), borrowing(50)), limited("global-default", 20, lending(50), queuing(128, 6, 50)))
	for name, want := range map[string][3]int{ // of upstream's defaults and 600 seats
		"system": {74, 50, 674}, "node-high": {98, 73, 698}, "leader-election": {25, 25, 625}, "workload-high": {98, 49, 698},
		"workload-low": {245, 24, 368}, "global-default": {49, 24, 649}, "catch-all": {13, 13, 613}, "exempt": {0, 0, 600},
	} {
		l := g.level(t, name).limits
		if got := [3]int{l.nominal, l.lowest, l.highest}; got != want {
			t.Errorf("%s: nominal, lowest, highest %v, want %v", name, got, want)
		}
	}
	if got := g.Classify(by("u")).MaxSeats(); got != 0 {
		t.Errorf("most seats of one request without queues: %d, want no limit", got)
	}
	if l := g.level(t, "global-default").limits; l.maxSeats() != 8 {
		t.Errorf("most seats of one request: %d, want 8", l.maxSeats())
	}
}

func TestIdleLevelsLendToBusyOnes(t *testing.T) {
	clock := newClock()
	g := gateOf(t, 100, clock, limited("idle", 50, lending(80)), limited("thrifty", 25, lending(0)), limited("busy", 25, lending(0)),
		limited("catch-all", 0), schemaFor("s", "busy", "crowd", 100))
	change(g, nil, limited("busy", 25, queuing(8, 1, 100)))
	c := crowd{g: g, clock: clock, users: map[string]*greed{"u": {keeps: 90, work: Plain(), takes: 10 * time.Millisecond}}}
	c.run(AdjustPeriod)
	g.Adjust()
	for name, want := range map[string][2]int{"idle": {10, 20}, "thrifty": {25, 30}, "busy": {50, 65}} {
		if l := g.level(t, name); l.limit < want[0] || l.limit > want[1] {
			t.Errorf("%s has %d seats, want %v", name, l.limit, want)
		}
	}
	if l := g.level(t, "busy"); l.inUse <= 25 {
		t.Errorf("busy uses %d of %d seats: none that it has borrowed", l.inUse, l.limit)
	}
	// The lender wants them back, and has its own share at the next adjustment, whatever the borrower needs.
	change(g, nil, schemaFor("t", "idle", "late", 50))
	change(g, nil, limited("idle", 50, lending(80), queuing(8, 1, 100)))
	for range 60 {
		g.arrive(by("v", "late"), Plain())
	}
	clock.pass(AdjustPeriod)
	g.Adjust()
	if l := g.level(t, "idle"); l.limit < 50 {
		t.Errorf("the lender that needs 60 has %d seats", l.limit)
	}
}

func TestNeedsRiseAtOnceAndFallSlowly(t *testing.T) {
	var n need
	d := demand{since: time.Unix(0, 0), at: time.Unix(0, 0)}
	now := time.Unix(0, 0)
	period := func(seats float64) {
		d.set(seats, now)
		now = now.Add(AdjustPeriod)
		n.learn(d.next(now))
	}
	period(40)
	if n.smoothed != 40 || n.highest != 40 {
		t.Errorf("after a busy period: smoothed %v, highest %d", n.smoothed, n.highest)
	}
	for range 30 { // five minutes
		period(0)
	}
	if math.Abs(n.smoothed-20) > 0.2 {
		t.Errorf("after five idle minutes: %v, want half", n.smoothed)
	}
}

func TestDividingKeepsBoundsAndTheSum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var wants []want
		lowest, highest := 0.0, 0.0
		for range 1 + random.IntN(8) {
			w := want{lowest: float64(random.IntN(20))}
			w.target = w.lowest + float64(random.IntN(30))
			w.highest = w.lowest + float64(random.IntN(60))
			lowest += w.lowest
			highest += w.highest
			wants = append(wants, w)
		}
		total := lowest + random.Float64()*(highest-lowest)
		factor, sum := divide(total, wants), 0.0
		for _, w := range wants {
			got := w.at(factor)
			sum += got
			if got < w.lowest || got > w.highest {
				t.Fatalf("%+v gets %v", w, got)
			}
		}
		if math.Abs(sum-total) > 1e-6 {
			t.Fatalf("%+v: the parts make %v, want %v", wants, sum, total)
		}
	}
}

func TestWhatIsMandatoryHoldsWithoutItsObjects(t *testing.T) {
	broken := limited("catch-all", 5)
	broken.Spec.Limited = nil
	lost := schemaFor("catch-all", "nowhere", "g", 10000)
	g := gateOf(t, 100, newClock(), broken, lost, limited("halved", 5, queuing(2, 3, 10)), schemaFor("s", "halved", "g", 5))
	if s := g.Classify(by("u", "g")); s == nil || s.name != "catch-all" || s.level.name != "catch-all" {
		t.Errorf("classified by %+v", s)
	}
	if s := g.Classify(by("m", "system:masters")); s.name != "exempt" {
		t.Errorf("a master is classified by %s", s.name)
	}
}

func TestRetiringLevelsKeepTheirSeatsUntilTheyAreIdle(t *testing.T) {
	clock := newClock()
	old := limited("old", 50)
	g := gateOf(t, 100, clock, old, limited("new", 50), limited("catch-all", 0), schemaFor("s", "old", "crowd", 100), schemaFor("t", "new", "crowd", 200))
	ticket, _ := g.arrive(by("u", "crowd"), Plain())
	change(g, old, nil)
	if l := g.level(t, "old"); !l.retiring || l.limits.nominal != 50 {
		t.Errorf("a level that is gone and busy: retiring %t, %d seats", l.retiring, l.limits.nominal)
	}
	if s := g.Classify(by("u", "crowd")); s.name != "t" {
		t.Errorf("a request goes by %s to a level that is gone", s.name)
	}
	g.Leave(ticket)
	g.Adjust()
	for _, l := range g.current.Load().levels {
		if l.name == "old" {
			t.Error("an idle level that is gone is still there")
		}
	}
	if l := g.level(t, "new"); l.limits.nominal != 100 {
		t.Errorf("the other one has %d seats of 100", l.limits.nominal)
	}
}

func TestRetryAfterRisesFastAndFallsSlowly(t *testing.T) {
	var b backoff
	second := int64(1000)
	refuse := func(n int) {
		for range n {
			b.refused(second)
		}
		second++
	}
	refuse(1)
	if b.seconds() != 1 {
		t.Errorf("at first: %d", b.seconds())
	}
	for range 60 {
		refuse(200)
	}
	if b.seconds() != longestBackoff {
		t.Errorf("after a minute of many refusals: %d", b.seconds())
	}
	for range 60 {
		second += 40
		refuse(1)
	}
	if b.seconds() != 1 {
		t.Errorf("after few refusals: %d", b.seconds())
	}
}

func TestWorkOfListsAndWrites(t *testing.T) {
	for _, c := range []struct {
		bytes int64
		limit int
		want  int
	}{{0, 8, 1}, {100_000, 8, 1}, {100_001, 8, 2}, {5_000_000, 8, 8}, {5_000_000, 0, 10}, {5_000_000, 1, 1}} {
		if got := Listing(c.bytes, c.limit); got.Seats != c.want {
			t.Errorf("a list of %d bytes, limit %d: %d seats, want %d", c.bytes, c.limit, got.Seats, c.want)
		}
	}
	for _, c := range []struct {
		watchers, limit int
		want            Work
	}{
		{9, 8, Work{Seats: 1}},
		{10, 8, Work{Seats: 1, Final: 1, Linger: toldIn}},
		{95, 0, Work{Seats: 1, Final: 10, Linger: toldIn}},
		{1000, 0, Work{Seats: 1, Final: 10, Linger: 10 * toldIn}},
		{1000, 5, Work{Seats: 1, Final: 5, Linger: 20 * toldIn}},
	} {
		if got := Writing(c.watchers, c.limit); got != c.want {
			t.Errorf("a write with %d watchers, limit %d: %+v, want %+v", c.watchers, c.limit, got, c.want)
		}
	}
}
