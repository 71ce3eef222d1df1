package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	policylisters "k8s.io/client-go/listers/policy/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// defaultPreemption makes room for a pod at the cost of less important ones: on a node where that breaks the fewest
// disruption budgets, and takes the least important, the fewest, and the youngest pods.
//
// Victims are deleted in the background; until that is done a gate holds the pod back. It is nominated for the node, so
// that pods of no higher priority do not take the place meanwhile.
type defaultPreemption struct {
	scheduler *Scheduler
	random    func(int) int
	budgets   policylisters.PodDisruptionBudgetLister
	// In a large cluster a part of the nodes are enough to choose from (in percent), but no less than so many.
	percentage, least int
}

func newDefaultPreemption(s *Scheduler, args *preemptionArgs) *defaultPreemption {
	return &defaultPreemption{s, s.config.Random, s.config.Informers.Policy().V1().PodDisruptionBudgets().Lister(),
		int(*args.MinCandidateNodesPercentage), int(*args.MinCandidateNodesAbsolute)}
}

type preemptionArgs struct{ configv1.DefaultPreemptionArgs }

func (a *preemptionArgs) Default() {
	orElse(&a.MinCandidateNodesPercentage, 10)
	orElse(&a.MinCandidateNodesAbsolute, 100)
}

func (a *preemptionArgs) Validate(at *field.Path) (errs field.ErrorList) {
	percentage, absolute := *a.MinCandidateNodesPercentage, *a.MinCandidateNodesAbsolute
	if percentage < 0 || percentage > 100 {
		errs = append(errs, field.Invalid(at.Child("minCandidateNodesPercentage"), percentage, "not in valid range [0, 100]"))
	}
	if absolute < 0 {
		errs = append(errs, field.Invalid(at.Child("minCandidateNodesAbsolute"), absolute, "not in valid range [0, inf)"))
	}
	if percentage == 0 && absolute == 0 {
		errs = append(errs, field.Invalid(at.Child("minCandidateNodesPercentage"), percentage, "cannot be zero at the same time as minCandidateNodesAbsolute"),
			field.Invalid(at.Child("minCandidateNodesAbsolute"), absolute, "cannot be zero at the same time as minCandidateNodesPercentage"))
	}
	return errs
}

// candidate is a node, and the pods on it that would have to go: the most important first.
type candidate struct {
	node    *Node
	victims []*Pod
	broken  int // victims whose budget does not allow it
}

// Admit holds back a pod while its victims are deleted.
func (d *defaultPreemption) Admit(p *Pod) *Refusal {
	if !d.scheduler.preempting[p.UID] {
		return nil
	}
	return &Refusal{"DefaultPreemption", []string{"waiting for the preemption for this pod to be finished"}, true}
}

// Remedy looks for victims.
func (d *defaultPreemption) Remedy(c *Cycle, diagnosis *Diagnosis) (*string, string) {
	if !c.dry {
		d.scheduler.metrics.preemptions.Inc()
	}
	if why := ineligible(c, diagnosis); why != "" {
		return nil, "preemption: " + why
	}
	candidates, tried := d.candidates(c, diagnosis)
	if len(candidates) == 0 {
		return new(string), "preemption: " + tried.Message()
	}
	candidates, err := c.extenders.preempt(c, candidates)
	switch {
	case err != nil:
		return nil, "preemption: " + err.Error()
	case len(candidates) == 0:
		return nil, "preemption: no candidate node for preemption"
	}
	best := chooseCandidate(candidates, d.scheduler.config.Clock.Now().UnixNano())
	if !c.dry {
		d.scheduler.preempt(c, best)
	}
	return &best.node.name, ""
}

// ineligible is why a pod may not preempt others; empty if it may.
func ineligible(c *Cycle, diagnosis *Diagnosis) string {
	p := c.Pod
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	n := c.nodes[c.promised]
	if n == nil || n.Node == nil {
		return ""
	}
	if refusal := diagnosis.why(n); refusal != nil && refusal.Hopeless {
		return ""
	}
	for _, other := range n.Pods {
		if other.priority() < p.priority() && (c.leaving[other.UID] || isPreempted(other)) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// isPreempted reports that a pod is going because of a preemption.
func isPreempted(p *Pod) bool {
	return p.terminating() && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// candidates are enough nodes that would do without some pods, beginning anywhere, and what was found about the others.
func (d *defaultPreemption) candidates(c *Cycle, diagnosis *Diagnosis) ([]candidate, *Diagnosis) {
	nodes := c.known()
	tried := c.newDiagnosis()
	tried.Others = &Refusal{"DefaultPreemption", []string{"Preemption is not helpful for scheduling"}, true}
	hopeful := c.scratch.hopeful[:0]
	for _, n := range nodes {
		if refusal := diagnosis.why(n); !diagnosis.Whole && refusal != nil && !refusal.Hopeless {
			hopeful = append(hopeful, n)
		}
	}
	c.scratch.hopeful = hopeful
	if len(hopeful) == 0 {
		return nil, tried
	}
	budgets, _ := d.budgets.List(labels.Everything()) // a lister of memory
	enough := min(max(len(hopeful)*d.percentage/100, d.least), len(hopeful))
	start := d.random(len(hopeful))
	var harmless, harmful []candidate
	for i := range hopeful {
		n := hopeful[(start+i)%len(hopeful)]
		found, refusal := c.victims(n, budgets)
		switch {
		case refusal != nil:
			tried.refuse(n, refusal)
		case found.broken == 0:
			harmless = append(harmless, found)
		default:
			harmful = append(harmful, found)
		}
		if len(harmless) > 0 && len(harmless)+len(harmful) >= enough {
			break
		}
	}
	return append(harmless, harmful...), tried
}

// victims are the pods that have to leave a node: all less important ones in thought, and then as many come back as
// there is room for, first those that a budget protects, and the more important before the others.
func (c *Cycle) victims(n *Node, budgets []*policyv1.PodDisruptionBudget) (candidate, *Refusal) {
	less := c.scratch.less[:0]
	for _, p := range n.Pods {
		if p.priority() < c.Pod.priority() {
			less = append(less, p)
		}
	}
	c.scratch.less = less
	if len(less) == 0 {
		return candidate{}, &Refusal{"DefaultPreemption", []string{"No preemption victims found for incoming pod"}, true}
	}
	w := c.whatIf(n)
	defer w.undo()
	for _, p := range less {
		w.remove(p)
	}
	if refusal := w.judge(); refusal != nil {
		return candidate{}, refusal
	}
	slices.SortFunc(less, byImportance)
	protected, others := protectedBy(budgets, less)
	found := candidate{node: n}
	stays := func(p *Pod) bool {
		w.add(p)
		if w.judge() == nil {
			return true
		}
		w.remove(p)
		found.victims = append(found.victims, p)
		return false
	}
	for _, p := range protected {
		if !stays(p) {
			found.broken++
		}
	}
	for _, p := range others {
		stays(p)
	}
	slices.SortFunc(found.victims, byImportance)
	if len(found.victims) == 0 {
		return candidate{}, &Refusal{Plugin: "DefaultPreemption", Reasons: []string{"expected at least one victim pod on node \"" + n.name + "\""}}
	}
	return found, nil
}

// byImportance orders by priority, and of equals the one that has run longer comes first.
func byImportance(a, b *Pod) int {
	if pa, pb := a.priority(), b.priority(); pa != pb {
		if pa > pb {
			return -1
		}
		return 1
	}
	switch sa, sb := a.Status.StartTime, b.Status.StartTime; {
	case sa != nil && sb != nil:
		return sa.Compare(sb.Time)
	case sa != nil:
		return -1
	case sb != nil:
		return 1
	}
	return 0
}

// protectedBy sorts out the pods that no budget allows to be disrupted, after those before them.
func protectedBy(budgets []*policyv1.PodDisruptionBudget, pods []*Pod) (protected, others []*Pod) {
	if len(budgets) == 0 {
		return nil, pods
	}
	left := make([]int32, len(budgets))
	for i, b := range budgets {
		left[i] = b.Status.DisruptionsAllowed
	}
	for _, p := range pods {
		exceeded := false
		for i, b := range budgets {
			if covers(b, p) {
				left[i]--
				exceeded = exceeded || left[i] < 0
			}
		}
		if exceeded {
			protected = append(protected, p)
		} else {
			others = append(others, p)
		}
	}
	return protected, others
}

// covers reports that a budget is about a pod, and does not count it as disrupted already.
func covers(b *policyv1.PodDisruptionBudget, p *Pod) bool {
	if b.Namespace != p.Namespace || len(p.Labels) == 0 {
		return false
	}
	selector := selectorOf(b.Spec.Selector)
	if selector.Empty() || !selector.Matches(labels.Set(p.Labels)) {
		return false
	}
	_, disrupted := b.Status.DisruptedPods[p.Name]
	return !disrupted
}

// chooseCandidate finds the one that does the least harm. Each question is asked of those only that are equal in all
// questions before: broken budgets, the highest priority, the sum of priorities, their number, and how long the most
// important ones have run. A pod that has not started counts from now (in nanoseconds). The order of candidates is lost.
func chooseCandidate(candidates []candidate, now int64) candidate {
	questions := []func(candidate) int64{
		func(c candidate) int64 { return int64(c.broken) },
		func(c candidate) int64 { return int64(c.victims[0].priority()) },
		func(c candidate) (sum int64) {
			for _, v := range c.victims {
				sum += int64(v.priority()) + (1 << 31) // so that more pods are more, also of negative priority
			}
			return sum
		},
		func(c candidate) int64 { return int64(len(c.victims)) },
		func(c candidate) int64 { return -earliestStart(c.victims, now) },
	}
	for _, ask := range questions {
		best, least := candidates[:0], int64(math.MaxInt64)
		for _, c := range candidates {
			answer := ask(c)
			if answer < least {
				best, least = best[:0], answer
			}
			if answer == least {
				best = append(best, c)
			}
		}
		candidates = best
	}
	return candidates[0]
}

// earliestStart is when the first of the most important victims began to run.
func earliestStart(victims []*Pod, now int64) int64 {
	earliest := now
	for _, v := range victims {
		if v.priority() == victims[0].priority() && v.Status.StartTime != nil {
			earliest = min(earliest, v.Status.StartTime.UnixNano())
		}
	}
	return earliest
}
