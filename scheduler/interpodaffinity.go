package scheduler

import (
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// interPodAffinity brings pods near to others, and keeps them apart: as the pod itself requires and prefers, and as the
// pods that are there already do.
//
// The subtle case is the first pod of a group that wants to be near its like: if no pod matches, and it would match
// itself, any node will do.
type interPodAffinity struct {
	cluster        *Cluster
	requiredWeight int64 // how much a pod that requires the company of others likes those that come later
	ignorePeers    bool  // what others prefer is nothing to a pod that prefers nothing itself
}

func newInterPodAffinity(s *Scheduler, args *affinityArgs) *interPodAffinity {
	return &interPodAffinity{s.cluster, int64(*args.HardPodAffinityWeight), args.IgnorePreferredTermsOfExistingPods}
}

type affinityArgs struct{ configv1.InterPodAffinityArgs }

func (a *affinityArgs) Default() { orElse(&a.HardPodAffinityWeight, 1) }

func (a *affinityArgs) Validate(at *field.Path) field.ErrorList {
	if w := *a.HardPodAffinityWeight; w < 0 || w > 100 {
		return field.ErrorList{field.Invalid(at.Child("hardPodAffinityWeight"), w, "not in valid range [0, 100]")}
	}
	return nil
}

// nearness is numbers of pods by the values of a topology key.
type nearness struct {
	by   *topology
	pods []int32
}

func (c *Cycle) newNearness(by *topology) nearness { return nearness{by, c.zeroes(len(by.nodes))} }

// sum adds up numbers by node; it returns how many are in any domain.
func (s nearness) sum(counts []int32) (all int32) {
	for slot, pods := range counts {
		if value := s.by.of[slot]; pods != 0 && value >= 0 {
			s.pods[value] += pods
			all += pods
		}
	}
	return all
}

// at is the number in a node's domain; false if the node lacks the key.
func (s nearness) at(n *Node) (int32, bool) {
	value := s.by.of[n.slot]
	if value < 0 {
		return 0, false
	}
	return s.pods[value], true
}

func (s nearness) change(n *Node, by int32) (changed int32) {
	value := s.by.of[n.slot]
	if value < 0 {
		return 0
	}
	s.pods[value] += by
	return by
}

func (*interPodAffinity) Filter(c *Cycle) (Judge, *Refusal) {
	const plugin = "InterPodAffinity"
	j := &affinityJudge{cycle: c, terms: c.Pod.Affinity,
		lonely:   &Refusal{plugin, []string{"node(s) didn't match pod affinity rules"}, true},
		crowded:  &Refusal{Plugin: plugin, Reasons: []string{"node(s) didn't match pod anti-affinity rules"}},
		unwanted: &Refusal{Plugin: plugin, Reasons: []string{"node(s) didn't satisfy existing pods anti-affinity rules"}}}
	if j.terms == nil {
		j.terms = &affinity{}
	}
	j.gatherForbidden()
	if len(j.terms.required) > 0 {
		near := c.count(j.terms.required)
		for _, t := range j.terms.required {
			s := c.newNearness(c.topology(t.topologyKey))
			j.company += s.sum(near.all)
			j.near = append(j.near, s)
		}
		j.alone = allMatch(j.terms.required, c.Pod.class, c.namespaces)
	}
	for _, t := range j.terms.requiredAnti {
		s := c.newNearness(c.topology(t.topologyKey))
		s.sum(c.count([]*term{t}).all)
		j.apart = append(j.apart, s)
	}
	if len(j.forbidden) == 0 && len(j.near) == 0 && len(j.apart) == 0 {
		return nil, nil
	}
	return j, nil
}

// affinityJudge holds the numbers of pods that matter, in each domain.
type affinityJudge struct {
	cycle                     *Cycle
	terms                     *affinity
	near                      []nearness // by required term: pods that match all of them
	apart                     []nearness // by required anti-affinity term: pods that match it
	alone                     bool       // the pod matches its own terms
	company                   int32      // pods that match all required terms, once for each term
	forbidden                 []nearness // by topology: pods that do not want this one; few, and walked for each node
	lonely, crowded, unwanted *Refusal
}

// gatherForbidden counts the pods whose anti-affinity the cycle's pod matches.
func (j *affinityJudge) gatherForbidden() {
	for _, h := range j.cycle.Pod.class.held {
		if !h.forbids {
			continue
		}
		s := j.forbiddenBy(h.by)
		for value, pods := range h.where {
			s.pods[value] += pods
		}
	}
}

func (j *affinityJudge) forbiddenBy(by *topology) nearness {
	for _, s := range j.forbidden {
		if s.by == by {
			return s
		}
	}
	s := j.cycle.newNearness(by)
	j.forbidden = append(j.forbidden, s)
	return s
}

func (j *affinityJudge) Judge(n *Node) *Refusal {
	if !j.hasCompany(n) {
		return j.lonely
	}
	for _, s := range j.apart {
		if pods, _ := s.at(n); pods > 0 {
			return j.crowded
		}
	}
	for _, s := range j.forbidden {
		if pods, _ := s.at(n); pods > 0 {
			return j.unwanted
		}
	}
	return nil
}

// hasCompany reports that the pods are there that this one requires.
func (j *affinityJudge) hasCompany(n *Node) bool {
	all := true
	for _, s := range j.near {
		pods, ok := s.at(n)
		if !ok {
			return false
		}
		all = all && pods > 0
	}
	return all || j.alone && j.company == 0
}

// Adjust counts pods that come and go in thought.
func (j *affinityJudge) Adjust(n *Node, p *Pod, sign int32) {
	if allMatch(j.terms.required, p.class, j.cycle.namespaces) {
		for _, s := range j.near {
			j.company += s.change(n, sign)
		}
	}
	for i, t := range j.terms.requiredAnti {
		if t.matches(p.class, j.cycle.namespaces) {
			j.apart[i].change(n, sign)
		}
	}
	if p.Affinity == nil {
		return
	}
	for _, t := range p.Affinity.requiredAnti {
		if t.matches(j.cycle.Pod.class, j.cycle.namespaces) {
			j.forbiddenBy(j.cycle.topology(t.topologyKey)).change(n, sign)
		}
	}
}

// Score adds up the weights of all preferences that a node's domains meet, the pod's own and those of others.
func (a *interPodAffinity) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	own := c.Pod.Affinity
	if own == nil {
		own = &affinity{}
	}
	if a.ignorePeers && len(own.preferred)+len(own.preferredAnti) == 0 {
		return false
	}
	c.scratch.sums = c.scratch.sums[:0]
	for _, t := range own.preferred {
		c.weigh(t, t.weight)
	}
	for _, t := range own.preferredAnti {
		c.weigh(t, -t.weight)
	}
	for _, h := range c.Pod.class.held {
		weight := h.weight
		if h.requires {
			weight = a.requiredWeight
		}
		if h.forbids || weight == 0 {
			continue
		}
		sum := c.scratch.sumsBy(h.by)
		for value, pods := range h.where {
			sum[value] += weight * int64(pods)
		}
	}
	if len(c.scratch.sums) == 0 {
		return false
	}
	for _, s := range c.scratch.sums {
		for i, n := range nodes {
			if value := s.by.of[n.slot]; value >= 0 {
				scores[i] += s.sums[value]
			}
		}
	}
	stretch(scores)
	return true
}

// domainSums are sums of weights by the values of a topology key.
type domainSums struct {
	by   *topology
	sums []int64
}

// sumsBy are the sums by a key; zeroes at first.
func (s *scratch) sumsBy(by *topology) []int64 {
	n := len(s.sums)
	if i := slices.IndexFunc(s.sums, func(d domainSums) bool { return d.by == by }); i >= 0 {
		return s.sums[i].sums
	}
	s.sums = slices.Grow(s.sums, 1)[:n+1]
	s.sums[n].by = by
	return zeroed(&s.sums[n].sums, len(by.nodes))
}

// weigh adds a preference's weight for each pod that it is about.
func (c *Cycle) weigh(t *term, weight int64) {
	by := c.topology(t.topologyKey)
	sum := c.scratch.sumsBy(by)
	for slot, pods := range c.count([]*term{t}).all {
		if value := by.of[slot]; pods != 0 && value >= 0 {
			sum[value] += weight * int64(pods)
		}
	}
}

// stretch makes the lowest 0 and the highest 100.
func stretch(scores []int64) {
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range scores {
		lowest, highest = min(lowest, s), max(highest, s)
	}
	for i, s := range scores {
		scores[i] = 0
		if highest > lowest {
			scores[i] = int64(maxScore * (float64(s-lowest) / float64(highest-lowest)))
		}
	}
}

func (*interPodAffinity) WakenBy() Kind {
	return NodeAdded | NodeLabels | PodAdded | PodDeleted | PodRelabeled | SelfChanged | NamespaceChanged
}

func (a *interPodAffinity) Helps(e *Event, p *Pod) bool {
	switch {
	case e.OldNode != nil:
		return a.cluster.moved(e.OldNode, e.Node)
	case e.Kind&NamespaceChanged != 0:
		return a.namespacesMatter(p)
	case e.Pod == nil:
		return true // one more domain
	case e.Kind&SelfChanged != 0:
		return e.OldPod.labelKey != e.Pod.labelKey
	}
	own := p.Affinity
	if own == nil {
		own = &affinity{}
	}
	isCompany := func(o *Pod) bool { return allMatch(own.required, a.classOf(o), a.cluster.namespaces) }
	inTheWay := func(o *Pod) bool { return anyMatches(own.requiredAnti, a.classOf(o), a.cluster.namespaces) }
	switch {
	case e.Kind&PodDeleted != 0:
		return inTheWay(e.Pod) || e.Pod.Affinity != nil && anyMatches(e.Pod.Affinity.requiredAnti, a.classOf(p), a.cluster.namespaces)
	case e.Kind&PodAdded != 0 && isCompany(e.Pod):
		return true
	}
	return e.OldPod != nil && (isCompany(e.Pod) && !isCompany(e.OldPod) || inTheWay(e.OldPod) && !inTheWay(e.Pod))
}

// namespacesMatter reports that terms of the pod or of those on nodes choose namespaces by labels.
func (a *interPodAffinity) namespacesMatter(p *Pod) bool {
	if own := p.Affinity; own != nil && (slices.ContainsFunc(own.required, (*term).choosesNamespaces) || slices.ContainsFunc(own.requiredAnti, (*term).choosesNamespaces)) {
		return true
	}
	for _, h := range a.cluster.holdings {
		if h.term.choosesNamespaces() {
			return true
		}
	}
	return false
}

// classOf is what terms look at, of a pod that may be on no node.
func (*interPodAffinity) classOf(p *Pod) *class {
	return &class{namespace: p.Namespace, labels: p.Labels}
}
