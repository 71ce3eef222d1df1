package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// Score likes nodes in domains with few like pods. A key with many values weighs more: there a pod more or less says
// more. Nodes that lack a key that the pod itself names are the least liked; those that lack one of the defaults are
// judged by the other.
func (s *podTopologySpread) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	rules, own := s.constraints(c, corev1.ScheduleAnyway)
	if len(rules) == 0 {
		return false
	}
	ignored := 0
	if own {
		for i, n := range nodes {
			if !hasAll(rules, n.slot) {
				scores[i] = -1
				ignored++
			}
		}
	}
	costs := zeroed(&c.scratch.costs, len(nodes))
	in := newInclusion(c.Pod)
	for i := range rules {
		r := &rules[i]
		if r.key == corev1.LabelHostname {
			r.addHostCosts(nodes, scores, costs, len(nodes)-ignored)
		} else {
			r.addDomainCosts(nodes, scores, costs, c.podsByDomain(rules, i, own, &in))
		}
	}
	costsToScores(costs, scores)
	return true
}

// podsByDomain sums up the pods that count.
func (c *Cycle) podsByDomain(rules []spreadRule, i int, own bool, in *inclusion) []int32 {
	r := &rules[i]
	sums := c.zeroes(len(r.by.nodes))
	for at, n := range c.slots {
		slot := int32(at)
		value := r.by.of[slot]
		if value < 0 || own && !hasAll(rules, slot) || !in.counts(r, n) {
			continue
		}
		sums[value] += r.live(slot)
	}
	return sums
}

func (r *spreadRule) addHostCosts(nodes []*Node, scores []int64, costs []float64, domains int) {
	weight := math.Log(float64(domains + 2))
	for i, n := range nodes {
		if scores[i] >= 0 && r.by.of[n.slot] >= 0 {
			costs[i] += float64(r.live(n.slot))*weight + float64(r.maxSkew-1)
		}
	}
}

func (r *spreadRule) addDomainCosts(nodes []*Node, scores []int64, costs []float64, pods []int32) {
	seen, domains := make([]bool, len(pods)+1), 0 // the last is for nodes without the key
	for i, n := range nodes {
		value := int(r.by.of[n.slot])
		if value < 0 {
			value = len(pods)
		}
		if scores[i] >= 0 && !seen[value] {
			seen[value] = true
			domains++
		}
	}
	weight := math.Log(float64(domains + 2))
	for i, n := range nodes {
		if value := r.by.of[n.slot]; scores[i] >= 0 && value >= 0 {
			costs[i] += float64(pods[value])*weight + float64(r.maxSkew-1)
		}
	}
}

// costsToScores turns them round: the least cost is the best. Nodes with a score of -1 get nothing.
func costsToScores(costs []float64, scores []int64) {
	lowest, highest := int64(math.MaxInt64), int64(0)
	for i, cost := range costs {
		if scores[i] >= 0 {
			scores[i] = int64(math.Round(cost))
			lowest, highest = min(lowest, scores[i]), max(highest, scores[i])
		}
	}
	for i, cost := range scores {
		switch {
		case cost < 0:
			scores[i] = 0
		case highest == 0:
			scores[i] = maxScore
		default:
			scores[i] = maxScore * (highest + lowest - cost) / highest
		}
	}
}
