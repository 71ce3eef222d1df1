package fairness

import "time"

// fate counts what has become of a level's requests.
type fate struct{ served, refused, timedOut, cancelled int }

// reason is why a request was refused.
type reason int

const (
	concurrencyLimit reason = iota // no seat, and the level has no queues
	queueFull
	timeOut // of the wait, or of the client's patience
	reasons
)

// String is the reason as metrics name it.
func (r reason) String() string { return [...]string{"concurrency-limit", "queue-full", "time-out"}[r] }

// tally is what metrics show of a schema's requests in a level. It is guarded by the level's lock, and outlives
// configurations: counters do not begin anew.
type tally struct {
	dispatched int
	refused    [reasons]int
	unfit      int // times that its turn found too few seats

	waiting, waitingSeats int
	serving, seats        int

	expected             histogram // seats
	lengths              histogram // of queues that were joined
	waited               [2]histogram
	took, initialization histogram
}

func newTally() *tally {
	seconds := []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}
	t := &tally{
		expected: newHistogram(1, 2, 4, 8, 16, 32, 64, 100),
		lengths:  newHistogram(0, 10, 25, 50, 100, 250, 500, 1000),
		took:     newHistogram(seconds...), initialization: newHistogram(seconds...),
	}
	t.waited = [2]histogram{newHistogram(seconds...), newHistogram(seconds...)}
	return t
}

func (t *tally) expect(w Work) { t.expected.note(float64(w.width())) }

func (t *tally) queue(seats, length int) {
	t.waiting++
	t.waitingSeats += seats
	t.lengths.note(float64(length))
}

func (t *tally) unqueue(seats int) {
	t.waiting--
	t.waitingSeats -= seats
}

func (t *tally) serve(seats int, waited time.Duration) {
	t.dispatched++
	t.serving++
	t.seats += seats
	t.waited[1].note(waited.Seconds())
}

func (t *tally) giveUp(waited time.Duration) { t.waited[0].note(waited.Seconds()) }

func (t *tally) finish(isWatch bool, took time.Duration) {
	t.serving--
	if isWatch {
		t.initialization.note(took.Seconds())
	} else {
		t.took.note(took.Seconds())
	}
}

// histogram counts values by the least bound that is not below them.
type histogram struct {
	bounds []float64
	counts []uint64 // one more than bounds, for values above all
	sum    float64
}

func newHistogram(bounds ...float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) note(value float64) {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += value
}

// cumulative is the histogram as Prometheus wants it: for each bound, the values up to it.
func (h *histogram) cumulative() (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(h.bounds))
	for i, bound := range h.bounds {
		count += h.counts[i]
		buckets[bound] = count
	}
	return count + h.counts[len(h.bounds)], buckets
}
