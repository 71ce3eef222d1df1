package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBudgetRefusesDisruption(t *testing.T) {
	for name, c := range map[string]struct {
		status     policyv1.PodDisruptionBudgetStatus
		generation int64
		refused    func(error) bool
	}{
		"some are allowed": {policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1}, 0, func(err error) bool { return err == nil }},
		"none are":         {policyv1.PodDisruptionBudgetStatus{}, 0, apierrors.IsTooManyRequests},
		"the controller has not seen the budget": {policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1}, 2, func(err error) bool {
			seconds, again := apierrors.SuggestsClientDelay(err)
			return again && seconds == 10
		}},
		"its numbers make no sense": {policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1}, 0, apierrors.IsForbidden},
	} {
		b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: c.generation}, Status: c.status}
		if err := refuseDisruption(b); !c.refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnreadyPodsGoUncounted(t *testing.T) {
	always := policyv1.AlwaysAllow
	for name, c := range map[string]struct {
		budget policyv1.PodDisruptionBudget
		want   bool
	}{
		"enough are healthy without it": {policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 2}}, true},
		"too few are":                   {policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 2}}, false},
		"nothing is known yet":          {policyv1.PodDisruptionBudget{}, false},
		"the budget says so":            {policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: &always}}, true},
	} {
		if got := allowsUnready(&c.budget); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestBindingRefusesWhatHasNoPlaceOrAnother(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		pod     corev1.Pod
		refused bool
	}{
		"waits for a node": {corev1.Pod{}, false},
		"has one":          {corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}}, true},
		"is gated":         {corev1.Pod{Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "g"}}}}, true},
		"is going":         {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, true},
	} {
		if err := refuseBinding(&c.pod); (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
