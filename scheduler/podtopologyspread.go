package scheduler

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	corev1affinity "k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// podTopologySpread keeps the numbers of like pods in zones, on nodes, or whatever a label tells apart, near to each
// other: strictly where a pod says so, and as a matter of taste where it does not say anything.
//
// The subtle part is who counts: nodes that lack one of the pod's keys do not, nor those that it could not run on (by
// its node affinity, and its tolerations if it asks for that), nor pods that are terminating.
type podTopologySpread struct {
	owners   *owners
	defaults []corev1.TopologySpreadConstraint // for pods of services and controllers that do not say anything
	listed   bool                              // the defaults are somebody's wish, and not just a matter of taste
}

func newPodTopologySpread(s *Scheduler, args *spreadArgs) *podTopologySpread {
	p := &podTopologySpread{owners: newOwners(s.config.Informers), defaults: args.DefaultConstraints, listed: true}
	if args.DefaultingType == configv1.SystemDefaulting {
		p.defaults, p.listed = spreadDefaults(), false
	}
	return p
}

type spreadArgs struct{ configv1.PodTopologySpreadArgs }

func (a *spreadArgs) Default() { orDefault(&a.DefaultingType, configv1.SystemDefaulting) }

func (a *spreadArgs) Validate(at *field.Path) (errs field.ErrorList) {
	kinds := []configv1.PodTopologySpreadConstraintsDefaulting{configv1.ListDefaulting, configv1.SystemDefaulting}
	if !slices.Contains(kinds, a.DefaultingType) {
		errs = append(errs, field.NotSupported(at.Child("defaultingType"), a.DefaultingType, kinds))
	} else if a.DefaultingType == configv1.SystemDefaulting && len(a.DefaultConstraints) > 0 {
		errs = append(errs, field.Invalid(at.Child("defaultingType"), a.DefaultingType, "when .defaultConstraints are not empty"))
	}
	at = at.Child("defaultConstraints")
	for i := range a.DefaultConstraints {
		c := &a.DefaultConstraints[i]
		errs = append(errs, validateSpreadDefault(c, at.Index(i))...)
		same := func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
		}
		if slices.ContainsFunc(a.DefaultConstraints[:i], same) {
			errs = append(errs, field.Duplicate(at.Index(i), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
		}
	}
	return errs
}

func validateSpreadDefault(c *corev1.TopologySpreadConstraint, at *field.Path) (errs field.ErrorList) {
	if c.MaxSkew <= 0 {
		errs = append(errs, field.Invalid(at.Child("maxSkew"), c.MaxSkew, "not in valid range (0, inf)"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
	} else {
		errs = append(errs, metav1validation.ValidateLabelName(c.TopologyKey, at.Child("topologyKey"))...)
	}
	actions := []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}
	if how := at.Child("whenUnsatisfiable"); c.WhenUnsatisfiable == "" {
		errs = append(errs, field.Required(how, "can not be empty"))
	} else if !slices.Contains(actions, c.WhenUnsatisfiable) {
		errs = append(errs, field.NotSupported(how, c.WhenUnsatisfiable, actions))
	}
	if c.LabelSelector != nil {
		errs = append(errs, field.Forbidden(at.Child("labelSelector"), "constraint must not define a selector, as they deduced for each pod"))
	}
	return errs
}

// spreadRule is one constraint, in one cycle.
type spreadRule struct {
	key        string
	maxSkew    int32
	minDomains int
	selector   labels.Selector
	tally      *tally // nil if the selector is of everything: that counts nobody
	by         *topology
	affinity   bool // nodes count by the pod's node affinity
	taints     bool // nodes count by the pod's tolerations
}

// constraints are the pod's that are to be kept in one way, or what was given for all pods if it has none at all. They are
// strict unless they are knarr's own defaults: nodes that lack a key do not count.
func (s *podTopologySpread) constraints(c *Cycle, want corev1.UnsatisfiableConstraintAction) (rules []spreadRule, strict bool) {
	p := c.Pod
	if list := p.Spec.TopologySpreadConstraints; len(list) > 0 {
		for i := range list {
			if list[i].WhenUnsatisfiable == want {
				rules = append(rules, newSpreadRule(c, &list[i], selectorFor(&list[i], p.Labels)))
			}
		}
		return rules, true
	}
	wanted := func(d corev1.TopologySpreadConstraint) bool { return d.WhenUnsatisfiable == want }
	if !slices.ContainsFunc(s.defaults, wanted) {
		return nil, s.listed
	}
	selector := s.owners.selector(p.Pod)
	if selector.Empty() {
		return nil, s.listed
	}
	for i := range s.defaults {
		if wanted(s.defaults[i]) {
			rules = append(rules, newSpreadRule(c, &s.defaults[i], selector))
		}
	}
	return rules, s.listed
}

// spreadDefaults are those that hold unless a configuration lists others.
func spreadDefaults() []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{
		{TopologyKey: corev1.LabelHostname, MaxSkew: 3, WhenUnsatisfiable: corev1.ScheduleAnyway},
		{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 5, WhenUnsatisfiable: corev1.ScheduleAnyway},
	}
}

func newSpreadRule(c *Cycle, t *corev1.TopologySpreadConstraint, selector labels.Selector) spreadRule {
	r := spreadRule{key: t.TopologyKey, maxSkew: t.MaxSkew, minDomains: 1, selector: selector, by: c.topology(t.TopologyKey), affinity: true}
	if t.MinDomains != nil {
		r.minDomains = int(*t.MinDomains)
	}
	if t.NodeAffinityPolicy != nil {
		r.affinity = *t.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
	}
	if t.NodeTaintsPolicy != nil {
		r.taints = *t.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	}
	if !selector.Empty() {
		r.tally = c.count([]*term{{key: c.Pod.Namespace + "||" + selectorKey(selector), namespaces: []string{c.Pod.Namespace}, selector: selector}})
	}
	return r
}

// selectorFor is the constraint's selector, narrowed to pods that have the same values as the pod of some labels.
func selectorFor(t *corev1.TopologySpreadConstraint, own map[string]string) labels.Selector {
	selector := selectorOf(t.LabelSelector)
	same := labels.Set{}
	for _, key := range t.MatchLabelKeys {
		if value, ok := own[key]; ok {
			same[key] = value
		}
	}
	requirements, selectable := selector.Requirements()
	if len(same) == 0 || !selectable {
		return selector
	}
	return labels.SelectorFromSet(same).Add(requirements...)
}

// live is how many pods count on a node.
func (r *spreadRule) live(slot int32) int32 {
	if r.tally == nil {
		return 0
	}
	return r.tally.live[slot]
}

// inclusion says which nodes count for a pod.
type inclusion struct {
	pod      *Pod
	required *corev1affinity.RequiredNodeAffinity // nil if the pod may run on any node
}

func newInclusion(p *Pod) inclusion {
	in := inclusion{pod: p}
	if len(p.Spec.NodeSelector) > 0 || requiredNodes(p) != nil {
		required := corev1affinity.GetRequiredNodeAffinity(p.Pod)
		in.required = &required
	}
	return in
}

func (in *inclusion) counts(r *spreadRule, n *Node) bool {
	if r.affinity && in.required != nil {
		if ok, _ := in.required.Match(n.Node); !ok {
			return false
		}
	}
	return !r.taints || len(n.hard) == 0 || tolerateAll(in.pod.Spec.Tolerations, n.hard)
}

// hasAll reports that the node in a slot has all the keys.
func hasAll(rules []spreadRule, slot int32) bool {
	for i := range rules {
		if rules[i].by.of[slot] < 0 {
			return false
		}
	}
	return true
}

func (s *podTopologySpread) Filter(c *Cycle) (Judge, *Refusal) {
	rules, _ := s.constraints(c, corev1.DoNotSchedule)
	if len(rules) == 0 {
		return nil, nil
	}
	j := &spreadJudge{rules: rules, in: newInclusion(c.Pod), class: c.Pod.class,
		skewed: &Refusal{Plugin: "PodTopologySpread", Reasons: []string{"node(s) didn't match pod topology spread constraints"}},
		lacks:  &Refusal{"PodTopologySpread", []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true}}
	for i := range rules {
		j.domains = append(j.domains, newDomains(c.zeroes(len(rules[i].by.nodes))))
		if rules[i].selector.Matches(labels.Set(c.Pod.Labels)) {
			j.domains[i].self = 1
		}
	}
	for at, n := range c.slots {
		slot := int32(at)
		if !hasAll(rules, slot) {
			continue
		}
		for i := range rules {
			if r := &rules[i]; j.in.counts(r, n) {
				j.domains[i].gather(r.by.of[slot], r.live(slot))
			}
		}
	}
	for _, d := range j.domains {
		d.rank()
	}
	return j, nil
}

// spreadJudge holds the numbers of like pods in each domain.
type spreadJudge struct {
	rules         []spreadRule
	domains       []*domains // by rule
	in            inclusion
	class         *class
	skewed, lacks *Refusal
}

func (j *spreadJudge) Judge(n *Node) *Refusal {
	for i := range j.rules {
		r, d := &j.rules[i], j.domains[i]
		value := r.by.of[n.slot]
		if value < 0 {
			return j.lacks
		}
		if max(d.pods[value], 0)+d.self-d.least(r.minDomains) > r.maxSkew {
			return j.skewed
		}
	}
	return nil
}

// Adjust counts pods that come and go in thought.
func (j *spreadJudge) Adjust(n *Node, p *Pod, sign int32) {
	if p.terminating() || p.Namespace != j.in.pod.Namespace || !hasAll(j.rules, n.slot) {
		return
	}
	for i := range j.rules {
		r := &j.rules[i]
		if r.tally != nil && r.selector.Matches(labels.Set(p.Labels)) && j.in.counts(r, n) {
			j.domains[i].change(r.by.of[n.slot], sign)
		}
	}
}

// domains are the numbers of pods by topology value, and of these numbers the least: it is wanted for each node, and
// moves with each pod, so how often each number occurs is kept as well.
type domains struct {
	pods  []int32       // -1 where no node counts
	times map[int32]int // nil until a pod moves
	known int
	min   int32
	self  int32 // 1 if the pod will count itself
}

func newDomains(zeroes []int32) *domains {
	d := &domains{pods: zeroes}
	for i := range d.pods {
		d.pods[i] = -1
	}
	return d
}

func (d *domains) gather(value, pods int32) {
	if d.pods[value] < 0 {
		d.pods[value] = 0
		d.known++
	}
	d.pods[value] += pods
}

// rank finds the least, once all is gathered.
func (d *domains) rank() {
	first := true
	for _, pods := range d.pods {
		if pods < 0 {
			continue
		}
		if first || pods < d.min {
			d.min, first = pods, false
		}
	}
}

func (d *domains) change(value, sign int32) {
	if d.times == nil {
		d.times = map[int32]int{}
		for _, pods := range d.pods {
			d.times[pods]++
		}
	}
	before := d.pods[value]
	after := before + sign
	d.pods[value] = after
	d.times[before]--
	d.times[after]++
	if after < d.min || before == d.min && d.times[before] == 0 {
		d.min = after
	}
}

// least is the number in the emptiest domain; there is an empty one to come if there are too few.
func (d *domains) least(minDomains int) int32 {
	if d.known < minDomains {
		return 0
	}
	return d.min
}

func (*podTopologySpread) WakenBy() Kind {
	return NodeAdded | NodeDeleted | NodeLabels | NodeTaints | PodAdded | PodDeleted | PodRelabeled | SelfChanged
}

func (s *podTopologySpread) Helps(e *Event, p *Pod) bool {
	switch {
	case e.Node != nil || e.OldNode != nil:
		return nodeHelpsSpread(e, p)
	case e.Kind&SelfChanged != 0:
		return !maps.Equal(e.OldPod.Labels, e.Pod.Labels) || len(e.OldPod.Spec.Tolerations) != len(e.Pod.Spec.Tolerations)
	}
	return e.Pod.Namespace == p.Namespace && (len(p.Spec.TopologySpreadConstraints) == 0 || countsForSpread(p, e.Pod) || e.OldPod != nil && countsForSpread(p, e.OldPod))
}

func nodeHelpsSpread(e *Event, p *Pod) bool {
	if e.OldNode == nil || e.Node == nil { // also a domain that is gone: another is the emptiest now
		return e.Node != nil && hasSpreadKeys(p, e.Node.Labels) || e.OldNode != nil && hasSpreadKeys(p, e.OldNode.Labels)
	}
	return (hasSpreadKeys(p, e.OldNode.Labels) || hasSpreadKeys(p, e.Node.Labels)) &&
		(e.Kind&NodeTaints != 0 || spreadChanged(p, e.OldNode.Labels, e.Node.Labels))
}

func hasSpreadKeys(p *Pod, node map[string]string) bool {
	for _, t := range p.Spec.TopologySpreadConstraints {
		if _, ok := node[t.TopologyKey]; !ok && t.WhenUnsatisfiable == corev1.DoNotSchedule {
			return false
		}
	}
	return true
}

// spreadChanged reports that other labels of a node may put it into another domain, or count it in or out.
func spreadChanged(p *Pod, old, now map[string]string) bool {
	if a := p.Spec.Affinity; len(p.Spec.TopologySpreadConstraints) == 0 || p.Spec.NodeSelector != nil || a != nil && a.NodeAffinity != nil {
		return true
	}
	return slices.ContainsFunc(p.Spec.TopologySpreadConstraints, func(t corev1.TopologySpreadConstraint) bool {
		return differs(old, now, t.TopologyKey)
	})
}

func countsForSpread(p, other *Pod) bool {
	for i := range p.Spec.TopologySpreadConstraints {
		t := &p.Spec.TopologySpreadConstraints[i]
		if t.WhenUnsatisfiable == corev1.DoNotSchedule && selectorFor(t, p.Labels).Matches(labels.Set(other.Labels)) {
			return true
		}
	}
	return false
}
