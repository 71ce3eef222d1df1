package nodeagent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestOnlyThresholdsChangeHealth(t *testing.T) {
	p := &corev1.Probe{FailureThreshold: 3, SuccessThreshold: 2, PeriodSeconds: 5}
	var h health
	for i, c := range []struct {
		ok   bool
		want result
	}{{true, unknown}, {true, success}, {false, success}, {false, success}, {true, success}, {false, success}, {false, success}, {false, failure}} {
		if h = h.after(Readiness, p, c.ok, noon()); h.of(Readiness) != c.want {
			t.Errorf("probe %d: %v, want %v", i, h.of(Readiness), c.want)
		}
	}
}

func TestWhenProbesAreDue(t *testing.T) {
	c := &corev1.Container{StartupProbe: &corev1.Probe{InitialDelaySeconds: 3, FailureThreshold: 1, SuccessThreshold: 1, PeriodSeconds: 10},
		LivenessProbe: &corev1.Probe{FailureThreshold: 1, SuccessThreshold: 1, PeriodSeconds: 10}, ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, SuccessThreshold: 1, FailureThreshold: 1}}
	r := &run{started: noon()}
	var h health
	if due := h.due(c, r, Startup, false); !due.Equal(noon().Add(3 * time.Second)) {
		t.Errorf("the startup probe is due at %v", due)
	}
	if !h.due(c, r, Liveness, false).IsZero() || !h.due(c, r, Readiness, false).IsZero() {
		t.Error("others do not wait for the startup probe")
	}
	h = h.after(Startup, c.StartupProbe, true, noon())
	if !h.due(c, r, Startup, false).IsZero() || h.due(c, r, Liveness, false).IsZero() {
		t.Error("the startup probe is not done, or others are not due")
	}
	if !h.due(c, r, Liveness, true).IsZero() || h.due(c, r, Readiness, true).IsZero() {
		t.Error("a pod that ends is asked whether it is ready, and nothing else")
	}
	if h = h.after(Liveness, c.LivenessProbe, false, noon()); !h.due(c, r, Liveness, false).IsZero() {
		t.Error("a run that is to be ended is asked again")
	}
}
