package fairness

import (
	"maps"
	"math"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/knarr-dev/knarr/registry"
)

// configuration is what requests are classified by. It is replaced as a whole; the levels in it live on.
type configuration struct {
	schemas  []*Schema    // in the order in which they are asked
	fallback *Schema      // for requests that none of them matches: the catch-all
	levels   []configured // by name; guarded by the gate's lock, as the factor
	factor   float64      // of the last adjustment
}

// configured is a level and what the gate knows of it.
type configured struct {
	*level
	limits   limits
	need     *need
	seats    int  // that it has been given
	retiring bool // not wanted any more, but it has requests
}

// plan completes the limits of all levels: each has its share of the seats, rounded up.
func plan(levels map[string]limits, seats int) {
	shares := 0
	for _, l := range levels {
		shares += l.shares
	}
	for name, l := range levels {
		if shares > 0 {
			l.nominal = int(math.Ceil(float64(seats) * float64(l.shares) / float64(shares)))
		}
		l.lowest = l.nominal - percent(l.lendable, l.nominal)
		l.highest = l.nominal + seats
		if l.borrowed >= 0 {
			l.highest = l.nominal + percent(l.borrowed, l.nominal)
		}
		levels[name] = l
	}
}

func percent(percent, of int) int { return int(math.Round(float64(of) * float64(percent) / 100)) }

// limitsOf reads a level's configuration; ok is false for one that contradicts itself, which the API does not let in.
func limitsOf(p *flowcontrolv1.PriorityLevelConfiguration) (l limits, ok bool) {
	l = limits{uid: string(p.UID), borrowed: -1}
	if exempt := p.Spec.Exempt; p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		l.exempt = true
		if exempt != nil {
			l.shares, l.lendable = number(exempt.NominalConcurrencyShares, 0), number(exempt.LendablePercent, 0)
		}
		return l, true
	}
	limited := p.Spec.Limited
	if limited == nil {
		return l, false
	}
	l.shares, l.lendable = number(limited.NominalConcurrencyShares, 30), number(limited.LendablePercent, 0)
	l.borrowed = number(limited.BorrowingLimitPercent, -1)
	if q := limited.LimitResponse.Queuing; limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeQueue {
		if q == nil || q.Queues < 1 || q.HandSize < 1 || q.HandSize > min(q.Queues, maxHand) {
			return l, false
		}
		l.queues, l.hand, l.length = int(q.Queues), int(q.HandSize), int(q.QueueLengthLimit)
	}
	return l, true
}

func number(n *int32, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(*n)
}

// maxSeats is what one request should take of a level at most: so that it is not the level's alone, and that a whole
// hand of them can be served at once.
func (l *limits) maxSeats() int {
	if l.queues == 0 {
		return 0
	}
	const part = 0.15
	return max(1, min(int(math.Ceil(float64(l.nominal)*part)), l.nominal/l.hand))
}

// configure makes the next configuration out of the objects that there are and the levels of the old one.
func (c *configuration) configure(levels []*flowcontrolv1.PriorityLevelConfiguration, schemas []*flowcontrolv1.FlowSchema, seats int, now time.Time) *configuration {
	mandatoryLevels, mandatorySchemas := registry.MandatoryFlowControl()
	wanted := map[string]limits{}
	for _, p := range slices.Concat(mandatoryLevels, levels) {
		if l, ok := limitsOf(p); ok { // else it is as good as not there
			wanted[p.Name] = l
		}
	}
	all := maps.Clone(wanted)
	for _, l := range c.levels { // what has requests keeps its share until it is idle
		if _, ok := wanted[l.name]; !ok && !l.idle() {
			all[l.name] = l.limits
		}
	}
	plan(all, seats)
	next := &configuration{}
	found := map[string]*configured{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := c.level(name, now)
		_, ok := wanted[name]
		l.limits, l.retiring = all[name], !ok
		l.reform(l.limits, now)
		next.levels = append(next.levels, l)
		if ok {
			found[name] = &l
		}
	}
	leadsNowhere := func(fs *flowcontrolv1.FlowSchema) bool { return found[fs.Spec.PriorityLevelConfiguration.Name] == nil }
	next.compile(complete(slices.DeleteFunc(schemas, leadsNowhere), mandatorySchemas), found)
	next.share(now)
	return next
}

// complete adds the mandatory schemas that are missing.
func complete(schemas, mandatory []*flowcontrolv1.FlowSchema) []*flowcontrolv1.FlowSchema {
	for _, m := range mandatory {
		if !slices.ContainsFunc(schemas, func(fs *flowcontrolv1.FlowSchema) bool { return fs.Name == m.Name }) {
			schemas = append(schemas, m)
		}
	}
	return schemas
}

// level finds a level of the configuration, or makes one.
func (c *configuration) level(name string, now time.Time) configured {
	for _, l := range c.levels {
		if l.name == name {
			return l
		}
	}
	return configured{level: newLevel(name, now), need: &need{}}
}

// compile makes the schemas ready. Each leads to a level.
func (c *configuration) compile(schemas []*flowcontrolv1.FlowSchema, levels map[string]*configured) {
	for _, fs := range schemas {
		s, l := newSchema(fs), levels[fs.Spec.PriorityLevelConfiguration.Name]
		s.level, s.tally, s.levelUID = l.level, l.tallyOf(fs.Name), []string{l.limits.uid}
		s.queues, s.maxSeats = l.limits.queues > 0, l.limits.maxSeats()
		c.schemas = append(c.schemas, s)
		if fs.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			c.fallback = s
		}
	}
	slices.SortFunc(c.schemas, (*Schema).order)
}

// tallyOf finds the counters of a schema, or begins them.
func (l *level) tallyOf(schema string) *tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tallies[schema] == nil {
		l.tallies[schema] = newTally()
	}
	return l.tallies[schema]
}

// find returns the schema that a request belongs to.
func (c *configuration) find(r *registry.Attributes) *Schema {
	for _, s := range c.schemas {
		if s.matches(r) {
			return s
		}
	}
	return c.fallback
}

// share divides the seats among the levels anew, by what they have needed since the last time.
func (c *configuration) share(now time.Time) {
	lenders := make([]lender, len(c.levels))
	for i, l := range c.levels {
		l.need.learn(l.endPeriod(now))
		lenders[i] = lender{l.limits, l.need}
	}
	var seats []int
	seats, c.factor = adjust(lenders)
	for i := range c.levels {
		c.levels[i].seats = seats[i]
		c.levels[i].resize(seats[i], now)
	}
}

// endPeriod ends a period of the level's demand.
func (l *level) endPeriod(now time.Time) period {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.demand.next(now)
}
