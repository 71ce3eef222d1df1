package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
)

// disruptions promises that each PodDisruptionBudget says how many of its pods may be evicted now: as many as are healthy
// beyond those that have to be. How many there should be is asked of the pods' controllers, by their scale.
//
// The subtle case is a pod whose eviction was granted but that is not marked as going yet. The API server notes it in the
// budget's status when it grants, and it does not count as healthy from then on; if it is not going two minutes later,
// it will not be, and counts again. Both write the same status, so that a conflict is no mishap but what keeps two evictions
// from being granted for one.
type disruptions struct {
	events  record.EventRecorder
	budgets *Source
	pods    *Source
	scales
}

// budgetTeller is whom events about budgets are from.
const budgetTeller = "controllermanager"

// evictionTime is how long a pod may take from the grant of its eviction to its deletion.
const evictionTime = 2 * time.Minute

func disruptionLoop(c *Config) Loop {
	x := &disruptions{c.EventsFrom(budgetTeller), c.Source(&policyv1.PodDisruptionBudget{}), c.Source(&corev1.Pod{}), scalesOf(c)}
	watches := []Watch{{x.budgets, itself}, {x.pods, x.ofPod}}
	for _, s := range x.scales.sources() {
		watches = append(watches, Watch{s, nobody}) // read only: their pods tell when something happens
	}
	return Loop{Watches: watches, Reconcile: x.reconcile, Beside: staleTargets(c)}
}

// nobody is concerned.
func nobody(_, _ metav1.Object) []Key { return nil }

// ofPod are the budgets of a pod, before and after. More than one is a mistake that keeps the pod from being evicted.
func (x *disruptions) ofPod(old, now metav1.Object) []Key {
	var keys []Key
	for _, o := range []metav1.Object{old, now} {
		if o == nil {
			continue
		}
		its := x.budgetsOf(o)
		if len(its) > 1 && o == now {
			x.events.Eventf(o.(*corev1.Pod), corev1.EventTypeWarning, "MultiplePodDisruptionBudgets",
				"Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.", o.GetNamespace(), o.GetName(), its[0].Name)
		}
		keys = append(keys, its...)
	}
	return keys
}

func (x *disruptions) budgetsOf(pod metav1.Object) (keys []Key) {
	for _, o := range x.budgets.all(pod.GetNamespace()) {
		// Here, unlike elsewhere, an empty selector selects everything.
		selector, err := metav1.LabelSelectorAsSelector(o.(*policyv1.PodDisruptionBudget).Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.GetLabels())) {
			keys = append(keys, KeyOf(o))
		}
	}
	return keys
}

func (x *disruptions) reconcile(ctx context.Context, t *Turn) error {
	o := x.budgets.cached(t.Key)
	if o == nil {
		return nil
	}
	budget := o.(*policyv1.PodDisruptionBudget)
	status, next, err := x.assess(ctx, t, budget)
	if err != nil {
		// What is not known must not be disrupted. The next change of a pod tries again.
		t.Log.Debug("nothing may be evicted", "err", err)
		status = undecided(budget, err, t.Now)
	}
	if next > 0 {
		t.Again(next)
	}
	if equality.Semantic.DeepEqual(budget.Status, status) {
		return nil
	}
	changed := *budget
	changed.Status = status
	_, err = UpdateStatus(ctx, t, t.Client.PolicyV1().PodDisruptionBudgets(t.Namespace), &changed)
	return err
}

// assess looks at the pods of a budget, and tells of those that are not as they should be.
func (x *disruptions) assess(ctx context.Context, t *Turn, budget *policyv1.PodDisruptionBudget) (s policyv1.PodDisruptionBudgetStatus, next time.Duration, err error) {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return s, 0, t.Failed(budget, err, "NoPods", "Failed to get pods: %v", err)
	}
	var pods []*corev1.Pod
	for _, p := range x.pods.all(budget.Namespace) {
		if selector.Matches(labels.Set(p.GetLabels())) {
			pods = append(pods, p.(*corev1.Pod))
		}
	}
	if len(pods) == 0 {
		t.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	expected := int32(len(pods))
	if asksForScale(budget) {
		var unmanaged bool
		expected, unmanaged, err = x.scales.total(ctx, t, pods)
		if unmanaged && err == nil {
			t.Event(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. "+
				"As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
				"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", budget.Spec.Selector)
		}
	}
	var desired int32
	if err == nil {
		expected, desired, err = healthyWanted(budget, expected)
	}
	if err != nil {
		return s, 0, t.Failed(budget, err, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
	}
	s, next, overdue := budgetStatus(budget, pods, expected, desired, t.Now)
	for _, p := range overdue {
		t.Event(p, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
	}
	return s, next, nil
}

// asksForScale reports that the number of pods there are does not say how many there should be.
func asksForScale(budget *policyv1.PodDisruptionBudget) bool {
	least := budget.Spec.MinAvailable
	return budget.Spec.MaxUnavailable != nil || least != nil && least.Type == intstr.String
}

// healthyWanted is how many of the expected pods have to be healthy. Percentages are rounded up.
func healthyWanted(budget *policyv1.PodDisruptionBudget, expected int32) (_, desired int32, err error) {
	scaled := func(of *intstr.IntOrString) (int32, error) {
		n, err := intstr.GetScaledValueFromIntOrPercent(of, int(expected), true)
		return int32(n), err
	}
	switch {
	case budget.Spec.MaxUnavailable != nil:
		unavailable, err := scaled(budget.Spec.MaxUnavailable)
		return expected, max(0, expected-unavailable), err
	case budget.Spec.MinAvailable != nil:
		desired, err := scaled(budget.Spec.MinAvailable)
		return expected, desired, err
	}
	return 0, 0, nil
}

// budgetStatus is what the pods of a budget amount to; when it will have changed by the mere passing of time, where zero is
// never; and pods that should have been deleted by now.
func budgetStatus(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, expected, desired int32, now time.Time) (policyv1.PodDisruptionBudgetStatus, time.Duration, []*corev1.Pod) {
	s := policyv1.PodDisruptionBudgetStatus{ExpectedPods: expected, DesiredHealthy: desired, ObservedGeneration: budget.Generation,
		DisruptedPods: map[string]metav1.Time{}, Conditions: budget.DeepCopy().Status.Conditions}
	var next time.Duration
	var overdue []*corev1.Pod
	for _, p := range pods {
		granted, evicted := budget.Status.DisruptedPods[p.Name]
		rest := granted.Add(evictionTime).Sub(now)
		switch {
		case p.DeletionTimestamp != nil:
			continue
		case evicted && rest >= 0:
			s.DisruptedPods[p.Name] = granted
			if next == 0 || rest < next {
				next = max(rest, time.Millisecond)
			}
			continue
		case evicted:
			overdue = append(overdue, p)
		}
		if isReady(p) {
			s.CurrentHealthy++
		}
	}
	if expected > 0 {
		s.DisruptionsAllowed = max(0, s.CurrentHealthy-desired)
	}
	c := metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason}
	if s.DisruptionsAllowed > 0 {
		c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	c.ObservedGeneration, c.LastTransitionTime = budget.Generation, metav1.Time{Time: now}
	meta.SetStatusCondition(&s.Conditions, c)
	return s, next, overdue
}

// undecided is the status of a budget about whose pods too little is known.
func undecided(budget *policyv1.PodDisruptionBudget, why error, now time.Time) policyv1.PodDisruptionBudgetStatus {
	s := *budget.Status.DeepCopy()
	s.DisruptionsAllowed = 0
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
		Reason: policyv1.SyncFailedReason, Message: why.Error(), ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.Time{Time: now}})
	return s
}

// staleTargets takes the mark DisruptionTarget from pods that were to go and stayed.
func staleTargets(c *Config) *Loop {
	pods := c.Source(&corev1.Pod{})
	return &Loop{
		Watches: []Watch{{pods, func(old, now metav1.Object) []Key {
			if now == nil || !isDisruptionTarget(now.(*corev1.Pod)) {
				return nil
			}
			return itself(old, now)
		}}},
		Reconcile: func(ctx context.Context, t *Turn) error {
			p, ok := pods.cached(t.Key).(*corev1.Pod)
			if !ok || !isDisruptionTarget(p) {
				return nil
			}
			if rest := podCondition(p, corev1.DisruptionTarget).LastTransitionTime.Add(evictionTime).Sub(t.Now); rest > 0 {
				t.Again(rest)
				return nil
			}
			changed := p.DeepCopy()
			*podCondition(changed, corev1.DisruptionTarget) = corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
				ObservedGeneration: p.Generation, LastTransitionTime: metav1.Time{Time: t.Now}}
			_, err := UpdateStatus(ctx, t, t.Client.CoreV1().Pods(t.Namespace), changed)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		},
	}
}

// isDisruptionTarget reports that a pod is marked to be disrupted, lives, and is not going. What a node has marked, the node
// will end.
func isDisruptionTarget(p *corev1.Pod) bool {
	c := podCondition(p, corev1.DisruptionTarget)
	return isActive(p) && c != nil && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet
}
