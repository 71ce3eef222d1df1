package fairness

import (
	"math"
	"slices"
	"sort"
	"time"
)

// Every adjustPeriod levels lend each other the seats that they do not need. What a level needs is learned from its
// demand: the seats that its requests have, and those that they wait for.

// AdjustPeriod is how often Gate.Adjust wants to be called.
const AdjustPeriod = 10 * time.Second

// smoothing is what is left of a past demand after a period: half of it after five minutes. A rise counts at once.
const smoothing = 0.977

// demand integrates the seats that a level could use over a period.
type demand struct {
	since, at       time.Time // begin of the period, and of the value
	value, highest  float64
	sum, sumSquares float64 // over time
}

func (d *demand) set(value float64, now time.Time) {
	d.bring(now)
	d.value = value
	d.highest = max(d.highest, value)
}

func (d *demand) bring(now time.Time) {
	dt := now.Sub(d.at).Seconds()
	d.sum += dt * d.value
	d.sumSquares += dt * d.value * d.value
	d.at = now
}

// next ends the period and returns what it was.
func (d *demand) next(now time.Time) (p period) {
	d.bring(now)
	p.highest = int(math.Round(d.highest))
	if whole := d.at.Sub(d.since).Seconds(); whole > 0 {
		p.whole = true
		p.mean = d.sum / whole
		p.deviation = math.Sqrt(max(0, d.sumSquares/whole-p.mean*p.mean))
	}
	*d = demand{since: now, at: now, value: d.value, highest: d.value}
	return p
}

// period is a level's demand over one period.
type period struct {
	whole           bool // it has lasted
	highest         int
	mean, deviation float64
}

// need is what a level is taken to need, learned from its periods.
type need struct {
	period
	smoothed float64
	target   float64 // that was used for the last adjustment
}

func (n *need) learn(p period) {
	n.highest = p.highest
	if !p.whole {
		return
	}
	n.period = p
	envelope := p.mean + p.deviation
	n.smoothed = max(envelope, smoothing*n.smoothed+(1-smoothing)*envelope)
}

// want is a level's part in the division of seats.
type want struct {
	lowest, highest float64
	target          float64 // not below lowest
}

// smallestTarget stands for targets of zero, which no factor could raise.
const smallestTarget = 0.001

// at is the level's part if every level gets so many times its target, within its bounds.
func (w want) at(factor float64) float64 {
	return min(max(w.lowest, factor*max(w.target, smallestTarget)), w.highest)
}

// divide finds the factor by which all targets together come to the total, within everybody's bounds: the sum rises with
// the factor, in straight lines between the points at which somebody reaches a bound.
func divide(total float64, wants []want) (factor float64) {
	sum := func(factor float64) (s float64) {
		for _, w := range wants {
			s += w.at(factor)
		}
		return s
	}
	var bends []float64
	for _, w := range wants {
		target := max(w.target, smallestTarget)
		bends = append(bends, w.lowest/target, w.highest/target)
	}
	slices.Sort(bends)
	i := sort.Search(len(bends), func(i int) bool { return sum(bends[i]) >= total })
	switch {
	case i == 0:
		return bends[0]
	case i == len(bends):
		return bends[i-1]
	}
	from, to := bends[i-1], bends[i]
	return from + (total-sum(from))*(to-from)/(sum(to)-sum(from))
}

// A lender is a level as the adjustment sees it.
type lender struct {
	limits
	need *need
}

// floor is below what the level does not fall: what it has needed, within its own share, or what it may not lend.
func (l lender) floor() int {
	if l.exempt {
		return max(l.lowest, l.need.highest)
	}
	return max(l.lowest, min(l.nominal, l.need.highest))
}

// adjust divides the seats of all levels by their needs. The factor is for metrics: how many times its need a level has
// that reaches no bound.
func adjust(levels []lender) (seats []int, factor float64) {
	seats = make([]int, len(levels))
	var wants []want
	total, left, lowest, floors := 0, 0, 0, 0
	for i, l := range levels {
		total += l.nominal
		if floor := l.floor(); l.exempt {
			seats[i] = floor
			left -= floor
			l.need.target = float64(floor)
		} else {
			l.need.target = max(float64(floor), l.need.smoothed)
			wants = append(wants, want{float64(floor), float64(l.highest), l.need.target})
			lowest += l.lowest
			floors += floor
		}
	}
	left += total
	share := func(l lender) int { return l.lowest } // exempt requests have taken all else
	switch {
	case len(wants) == 0 || left <= lowest:
	case left <= floors:
		part := float64(left-lowest) / float64(floors-lowest)
		share = func(l lender) int { return l.lowest + int(math.Round(float64(l.floor()-l.lowest)*part)) }
	default:
		factor = divide(float64(total), wants)
		share = func(l lender) int {
			return int(math.Round(want{float64(l.floor()), float64(l.highest), l.need.target}.at(factor)))
		}
	}
	for i, l := range levels {
		if !l.exempt {
			seats[i] = share(l)
		}
	}
	return seats, factor
}
