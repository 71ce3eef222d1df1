package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// broken are the rules that a pod on the node would break, by their index.
func (j *spreadJudge) broken(n *Node) (broken []int) {
	for i := range j.rules {
		r, d := &j.rules[i], j.domains[i]
		if value := r.by.of[n.slot]; value < 0 || max(d.pods[value], 0)+d.self-d.least(r.minDomains) > r.maxSkew {
			broken = append(broken, i)
		}
	}
	return broken
}

// Facts are the counts behind each rule that would be broken.
func (*podTopologySpread) Facts(_ *Cycle, judge Judge, n *Node) (facts []Fact) {
	j, ok := judge.(*spreadJudge)
	if !ok {
		return nil
	}
	for _, i := range j.broken(n) {
		r, d := &j.rules[i], j.domains[i]
		value := r.by.of[n.slot]
		if value < 0 {
			facts = append(facts, Fact{Text: "there is no label " + r.key, TopologyKey: r.key, MaxSkew: r.maxSkew})
			continue
		}
		here, least := max(d.pods[value], 0), d.least(r.minDomains)
		f := Fact{TopologyKey: r.key, Domain: n.Labels[r.key], Pods: &here, Least: &least, MaxSkew: r.maxSkew, shortage: float64(here + d.self - least - r.maxSkew)}
		f.Text = fmt.Sprintf("%s=%s has %s, the emptiest %d: maxSkew is %d", r.key, f.Domain, counted(int(here), "such pod"), least, r.maxSkew)
		if d.known < r.minDomains {
			f.Text += fmt.Sprintf(", and %d of at least %d domains are there", d.known, r.minDomains)
		}
		facts = append(facts, f)
	}
	return facts
}

// Changes are to label the node, to allow more skew, or to take the rules less strictly.
func (*podTopologySpread) Changes(_ *Cycle, judge Judge, n *Node) (changes []Change) {
	j := judge.(*spreadJudge)
	labels := map[string]string{}
	skews := map[int]int32{}
	var texts, keys []string
	for _, i := range j.broken(n) {
		r, d := &j.rules[i], j.domains[i]
		keys = append(keys, r.key)
		value := r.by.of[n.slot]
		if value < 0 {
			if emptiest := j.emptiest(i); emptiest != "" {
				labels[r.key] = emptiest
			}
			continue
		}
		skews[i] = max(d.pods[value], 0) + d.self - d.least(r.minDomains)
		texts = append(texts, fmt.Sprintf("raise maxSkew of %s from %d to %d", r.key, r.maxSkew, skews[i]))
	}
	if len(labels) > 0 {
		changes = append(changes, labeling(n, 20, labels))
	}
	if len(skews) > 0 {
		text := texts[0]
		for _, more := range texts[1:] {
			text += " and " + more
		}
		changes = append(changes, Change{Text: text, Kind: "skew", Cost: 20 + int(slices.Max(slices.Collect(maps.Values(skews)))), Pod: j.onRules(func(i int, t *corev1.TopologySpreadConstraint) {
			t.MaxSkew = max(t.MaxSkew, skews[i])
		})})
	}
	anyway := Change{Text: "set whenUnsatisfiable of " + keys[0] + " to ScheduleAnyway", Kind: "anyway", Cost: 50}
	for _, key := range keys[1:] {
		anyway.Text += " and of " + key
	}
	broken := j.broken(n)
	anyway.Pod = j.onRules(func(i int, t *corev1.TopologySpreadConstraint) {
		if slices.Contains(broken, i) {
			t.WhenUnsatisfiable = corev1.ScheduleAnyway
		}
	})
	return append(changes, anyway)
}

// emptiest is the value of a rule's key with the fewest pods.
func (j *spreadJudge) emptiest(rule int) string {
	r, d := &j.rules[rule], j.domains[rule]
	values := slices.SortedFunc(maps.Keys(r.by.numbers), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.pods[r.by.numbers[a]], d.pods[r.by.numbers[b]]), cmp.Compare(a, b))
	})
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// onRules changes a pod's own constraints, by the number of the rule.
func (*spreadJudge) onRules(change func(rule int, t *corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		rule := 0
		for i := range p.Spec.TopologySpreadConstraints {
			if t := &p.Spec.TopologySpreadConstraints[i]; t.WhenUnsatisfiable == corev1.DoNotSchedule {
				change(rule, t)
				rule++
			}
		}
	}
}
