package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// Cycle is one look at one pod.
type Cycle struct {
	*Cluster
	Pod      *Pod
	profile  *profile
	promises map[string][]*Waiting // of places on nodes
	promised string                // to the pod itself
	judges   []judgeOf
	// adjusters are those of the judges that look at other nodes' pods.
	adjusters []Adjuster
	thought   whatIf
	watch     stopwatch
	// extenders have a say after the plugins; random breaks ties between nodes that they have scored.
	extenders extenders
	random    func(n int) int
	// dry says that nothing may be kept of it.
	dry bool
	// storage is that of a world in thought; nil for the real one.
	storage *volumes
}

// judgeOf is a judge and the plugin that has appointed it.
type judgeOf struct {
	Judge
	plugin string
	asked  int // nodes that it has been asked about
}

// refusals are of nodes by themselves. Plugins give many nodes the same one, so numbers are kept, and no pointers: they are
// of no interest to the garbage collector.
type refusals struct {
	kinds   []*Refusal
	numbers map[*Refusal]int32 // of kinds
	last    int32              // that was given
	of      []int32            // by the nodes' slots: the number of the refusal, from 1; 0 where there is none
	cycle   *Cycle             // has the room for of
	refused int                // nodes
}

// number is the one of a refusal.
func (r *refusals) number(refusal *Refusal) int32 {
	if r.last > 0 && r.kinds[r.last-1] == refusal {
		return r.last
	}
	if r.numbers == nil {
		r.numbers, r.of = map[*Refusal]int32{}, r.cycle.zeroes(len(r.cycle.slots))
	}
	r.last = r.numbers[refusal]
	if r.last == 0 {
		r.kinds = append(r.kinds, refusal)
		r.last = int32(len(r.kinds))
		r.numbers[refusal] = r.last
	}
	return r.last
}

// Diagnosis is why no node will do.
type Diagnosis struct {
	Nodes    int                 // all that there are
	Others   *Refusal            // of the nodes that were not refused by themselves; nil if there are none
	Refusers map[string]struct{} // plugins
	refusals
	Whole      bool // Others refused before nodes were looked at
	PostFilter string
	// Err says that something went wrong: whether a node would do is not known.
	Err error
}

// minFeasible is how many nodes are enough in any case, minPercentage what part of them in a large cluster.
const (
	minFeasible   = 100
	minPercentage = 5
)

// decide is the story: it returns the node for the cycle's pod, or why there is none.
func (c *Cycle) decide() (*Node, *Diagnosis) {
	nodes := c.known()
	if !c.dry {
		c.scratch.lent.end()
	}
	d := c.newDiagnosis()
	c.classOf(c.Pod)

	// 1. Plugins look at the pod, and appoint judges of nodes.
	refusal := c.appoint()
	c.lap(pointPreFilter, statusOf(refusal))
	if refusal != nil {
		d.refuseAll(refusal, true)
		return nil, d
	}

	// 2. A node that was promised is taken if it will do.
	if n := c.nodes[c.promised]; n != nil && n.Node != nil {
		if c.judge(n) == nil && c.extenders.pass(c, n) {
			return n, nil
		}
	}

	// 3. Nodes are filtered, beginning where the last cycle ended, until there are enough of them.
	feasible, refusal := c.feasible(nodes, d)
	c.lap(pointFilter, statusSuccess)
	if refusal != nil {
		d.refuseAll(refusal, true)
		return nil, d
	}
	if len(feasible) == 0 {
		return nil, d
	}

	// 4. The others are scored, and the best is selected: of equals, the first.
	best := feasible[c.best(feasible)]
	c.lap(pointScore, statusSuccess)
	return best, nil
}

// appoint lets the filters look at the pod.
func (c *Cycle) appoint() *Refusal {
	for _, f := range c.profile.filters {
		start := c.watch.begin()
		judge, refusal := f.plugin.Filter(c)
		c.watch.end(start, f.name, pointPreFilter, statusOf(refusal))
		if refusal != nil {
			return refusal
		}
		if judge != nil {
			c.judges = append(c.judges, judgeOf{Judge: judge, plugin: f.name})
			if a, ok := judge.(Adjuster); ok {
				c.adjusters = append(c.adjusters, a)
			}
		}
	}
	return nil
}

// feasible are nodes that will do, as many as are worth scoring. The others that were looked at go into the diagnosis.
func (c *Cycle) feasible(nodes []*Node, d *Diagnosis) ([]*Node, *Refusal) {
	among, refusal := c.choice(nodes, d)
	if refusal != nil || len(among) == 0 {
		return nil, refusal
	}
	enough := c.profile.enough(len(among))
	found := slices.Grow(c.scratch.found[:0], enough)
	start, seen := c.start%len(among), 0
	c.timeJudges(among[start])
	judge := c.judgeAsIs
	if len(c.promises) > 0 {
		judge = c.judge
	}
	for ; seen < len(among) && len(found) < enough; seen++ {
		at := start + seen
		if at >= len(among) {
			at -= len(among)
		}
		n := among[at]
		if refusal := judge(n); refusal != nil {
			d.refuse(n, refusal)
		} else {
			found = append(found, n)
		}
	}
	c.scratch.found = found
	if !c.dry {
		c.start = (c.start + seen) % len(nodes)
	}
	if len(c.extenders) > 0 {
		found, d.Err = c.extenders.filter(c, found, d)
	}
	return found, nil
}

// timeJudges times each judge on one node, in cycles that are sampled.
func (c *Cycle) timeJudges(n *Node) {
	if !c.watch.sampled {
		return
	}
	for i := range c.judges {
		start := c.watch.begin()
		refusal := c.judges[i].Judge.Judge(n)
		c.watch.end(start, c.judges[i].plugin, pointFilter, statusOf(refusal))
	}
}

// choice is the nodes that are worth looking at: all, unless plugins name the only ones.
func (c *Cycle) choice(nodes []*Node, d *Diagnosis) ([]*Node, *Refusal) {
	var names []string
	var by []string
	for _, chooser := range c.profile.choosers {
		chosen, limited, refusal := chooser.plugin.Choose(c)
		if refusal != nil {
			return nil, refusal
		}
		if !limited {
			continue
		}
		if by == nil {
			names = chosen
		} else {
			names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return !slices.Contains(chosen, s) })
		}
		by = append(by, chooser.name)
	}
	if by == nil {
		return nodes, nil
	}
	var among []*Node
	for _, name := range names {
		if n := c.nodes[name]; n != nil && n.Node != nil {
			among = append(among, n)
		}
	}
	for _, plugin := range by {
		d.Refusers[plugin] = struct{}{}
	}
	d.Others = &Refusal{Reasons: []string{fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", by)}, Hopeless: true}
	return among, nil
}

// enough is how many nodes that will do are worth scoring, of so many.
func (p *profile) enough(nodes int) int {
	if nodes < minFeasible {
		return nodes
	}
	percentage := p.percentage
	if percentage == 0 {
		percentage = max(50-nodes/125, minPercentage)
	}
	return max(nodes*percentage/100, minFeasible)
}

// judge says whether a node will do.
func (c *Cycle) judge(n *Node) *Refusal {
	if len(c.promises[n.name]) > 0 {
		return c.whatIf(n).judge()
	}
	return c.judgeAsIs(n)
}

func (c *Cycle) judgeAsIs(n *Node) *Refusal {
	for i := range c.judges {
		c.judges[i].asked++
		if refusal := c.judges[i].Judge.Judge(n); refusal != nil {
			return refusal
		}
	}
	return nil
}

// best is the index of the node with the highest sum of weighted scores.
func (c *Cycle) best(nodes []*Node) int {
	if len(nodes) == 1 {
		return 0
	}
	totals, scores := zeroed(&c.scratch.totals, len(nodes)), zeroed(&c.scratch.scores, len(nodes))
	for _, s := range c.profile.scorers {
		clear(scores)
		start := c.watch.begin()
		liked := s.plugin.Score(c, nodes, scores)
		c.watch.end(start, s.name, pointScore, statusSuccess)
		if liked {
			for i, score := range scores {
				totals[i] += s.weight * score
			}
			c.counted(s.name, pointScore, len(nodes))
		}
	}
	random := c.extenders.score(c, nodes, func(i int, e *extender, score int64) { totals[i] += e.worth() * score })
	best, equals := 0, 1
	for i, total := range totals {
		switch {
		case total > totals[best]:
			best, equals = i, 1
		case i > 0 && total == totals[best] && random:
			if equals++; c.random(equals) == 0 {
				best = i
			}
		}
	}
	return best
}

// newDiagnosis is good until the next cycle begins, but for its Refusers.
func (c *Cycle) newDiagnosis() *Diagnosis {
	return &Diagnosis{Nodes: len(c.known()), refusals: refusals{cycle: c}, Refusers: map[string]struct{}{}}
}

func (d *Diagnosis) refuse(n *Node, refusal *Refusal) {
	known := len(d.kinds)
	number := d.number(refusal)
	d.of[n.slot] = number
	d.refused++
	if len(d.kinds) > known {
		d.Refusers[refusal.Plugin] = struct{}{}
	}
}

// scratch is room that each cycle uses again.
type scratch struct {
	found, hopeful []*Node
	less           []*Pod
	totals, scores []int64
	costs          []float64
	sums           []domainSums
	lent           loan
}

// loan is room for numbers by node and by domain that judges and diagnoses have until the next cycle begins. In a large
// cluster they would be most of what a cycle leaves to the garbage collector.
type loan struct{ all []int32 }

func (l *loan) end() { l.all = l.all[:0] }

// zeroes are n zeroes that are the cycle's until it ends. Of a dry cycle there may be others at the same time.
func (c *Cycle) zeroes(n int) []int32 {
	if c.dry {
		return make([]int32, n)
	}
	l := &c.scratch.lent
	from := len(l.all)
	l.all = slices.Grow(l.all, n)[:from+n] // who has a part of the old room keeps it
	part := l.all[from : from+n : from+n]
	clear(part)
	return part
}

// zeroed is n zeroes, in room that is used again.
func zeroed[T int64 | float64](room *[]T, n int) []T {
	*room = slices.Grow((*room)[:0], n)[:n]
	clear(*room)
	return *room
}

func (d *Diagnosis) refuseAll(refusal *Refusal, whole bool) {
	d.Others, d.Whole = refusal, whole
	d.Refusers[refusal.Plugin] = struct{}{}
}

// why is why a node was refused.
func (d *Diagnosis) why(n *Node) *Refusal {
	if d.of != nil && d.of[n.slot] > 0 {
		return d.kinds[d.of[n.slot]-1]
	}
	return d.Others
}

// noNodes is what is said when there is not a single node.
const noNodes = "no nodes available to schedule pods"

// Message is what people are told, in the words that tools look for.
func (d *Diagnosis) Message() string {
	if d.Nodes == 0 {
		return noNodes
	}
	text := fmt.Sprintf("0/%d nodes are available:", d.Nodes)
	if reasons := d.reasons(); reasons != "" {
		text += " " + reasons + "."
	}
	if d.PostFilter != "" {
		text += " " + d.PostFilter
	}
	return text
}

func (d *Diagnosis) reasons() string {
	if d.Whole {
		return strings.Join(d.Others.Reasons, ", ")
	}
	counts := map[string]int{}
	same := make([]int, len(d.kinds)+1)
	for _, number := range d.of {
		same[number]++
	}
	for i, refusal := range d.kinds {
		for _, reason := range refusal.Reasons {
			counts[reason] += same[i+1]
		}
	}
	if absent := d.Nodes - d.refused; d.Others != nil && absent > 0 {
		for _, reason := range d.Others.Reasons {
			counts[reason] += absent
		}
	}
	var texts []string
	for reason, n := range counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
