package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHealthyWanted(t *testing.T) {
	value := func(s string) *intstr.IntOrString { v := intstr.Parse(s); return &v }
	for name, c := range map[string]struct {
		spec              policyv1.PodDisruptionBudgetSpec
		expected, desired int32
	}{
		"a number":                         {policyv1.PodDisruptionBudgetSpec{MinAvailable: value("3")}, 7, 3},
		"a share is rounded up":            {policyv1.PodDisruptionBudgetSpec{MinAvailable: value("50%")}, 7, 4},
		"what may be missed":               {policyv1.PodDisruptionBudgetSpec{MaxUnavailable: value("2")}, 7, 5},
		"a share of that is rounded up":    {policyv1.PodDisruptionBudgetSpec{MaxUnavailable: value("30%")}, 7, 4},
		"more may be missed than exist":    {policyv1.PodDisruptionBudgetSpec{MaxUnavailable: value("9")}, 7, 0},
		"a budget of nothing expects none": {policyv1.PodDisruptionBudgetSpec{}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			expected, desired, err := healthyWanted(&policyv1.PodDisruptionBudget{Spec: c.spec}, 7)
			if diff := cmp.Diff([]any{c.expected, c.desired, error(nil)}, []any{expected, desired, err}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBudgetStatus(t *testing.T) {
	pod := func(name string, ready, going bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		if going {
			p.DeletionTimestamp = &metav1.Time{Time: noon()}
		}
		return p
	}
	at := func(ago time.Duration) metav1.Time { return metav1.Time{Time: noon().Add(-ago)} }
	type outcome struct {
		Healthy, Allowed int32
		Disrupted        int
		Next             time.Duration
		Overdue          int
		Reason           string
	}
	for name, c := range map[string]struct {
		pods      []*corev1.Pod
		expected  int32
		disrupted map[string]metav1.Time
		want      outcome
	}{
		"healthy beyond what has to be": {
			[]*corev1.Pod{pod("a", true, false), pod("b", true, false), pod("c", false, false)}, 3, nil, outcome{2, 1, 0, 0, 0, "SufficientPods"}},
		"pods that are going are not healthy": {
			[]*corev1.Pod{pod("a", true, false), pod("b", true, true)}, 2, nil, outcome{1, 0, 0, 0, 0, "InsufficientPods"}},
		"nor are those whose eviction was granted": {
			[]*corev1.Pod{pod("a", true, false), pod("b", true, false)}, 2, map[string]metav1.Time{"b": at(30 * time.Second)},
			outcome{1, 0, 1, 90 * time.Second, 0, "InsufficientPods"}},
		"until it has taken too long": {
			[]*corev1.Pod{pod("a", true, false), pod("b", true, false)}, 2, map[string]metav1.Time{"b": at(3 * time.Minute)},
			outcome{2, 1, 0, 0, 1, "SufficientPods"}},
		"those that are gone are forgotten": {
			[]*corev1.Pod{pod("a", true, false)}, 1, map[string]metav1.Time{"b": at(time.Second)}, outcome{1, 0, 0, 0, 0, "InsufficientPods"}},
		"where none is expected, none may be evicted": {
			[]*corev1.Pod{pod("a", true, false), pod("b", true, false)}, 0, nil, outcome{2, 0, 0, 0, 0, "InsufficientPods"}},
	} {
		t.Run(name, func(t *testing.T) {
			budget := &policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: c.disrupted}}
			s, next, overdue := budgetStatus(budget, c.pods, c.expected, 1, noon())
			got := outcome{s.CurrentHealthy, s.DisruptionsAllowed, len(s.DisruptedPods), next, len(overdue), s.Conditions[0].Reason}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
