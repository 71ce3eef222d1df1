package nodeagent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ProbeKind is what a probe is asked for.
type ProbeKind int

// The kinds, in the order in which they are run: nothing else is asked before the startup probe has succeeded.
const (
	Startup ProbeKind = iota
	Liveness
	Readiness
)

func (k ProbeKind) String() string { return [...]string{"Startup", "Liveness", "Readiness"}[k] }

func (k ProbeKind) of(c *corev1.Container) *corev1.Probe {
	return [...]*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe}[k]
}

// result is what probes say of a run; before they have said anything it is alive, and neither started nor ready.
type result int

const (
	unknown result = iota
	success
	failure
)

// health is the state of the probes of one run.
type health [3]probing

type probing struct {
	result result
	last   result // of the newest probe
	streak int32  // how often in a row
	next   time.Time
	held   bool // until there is a new run
}

func (h health) of(k ProbeKind) result { return h[k].result }

// started reports whether a running container has started, as far as probes know.
func (h health) started(c *corev1.Container) bool {
	return c.StartupProbe == nil || h.of(Startup) == success
}

// ready reports whether a running container is ready, as far as probes know.
func (h health) ready(c *corev1.Container) bool {
	return h.started(c) && (c.ReadinessProbe == nil || h.of(Readiness) == success)
}

// due is when a probe is to be run next; zero if it is not.
func (h health) due(c *corev1.Container, r *run, k ProbeKind, ending bool) time.Time {
	probe := k.of(c)
	isStarted := h.started(c)
	switch {
	case probe == nil, h[k].held, k == Startup && isStarted, k != Startup && !isStarted, ending && k != Readiness:
		return time.Time{}
	case h[k].next.IsZero():
		return r.started.Add(time.Duration(probe.InitialDelaySeconds) * time.Second)
	}
	return h[k].next
}

// after is the state when a probe has said ok or not.
func (h health) after(k ProbeKind, probe *corev1.Probe, ok bool, now time.Time) health {
	p := &h[k]
	said := failure
	if ok {
		said = success
	}
	if p.last == said {
		p.streak++
	} else {
		p.last, p.streak = said, 1
	}
	p.next = now.Add(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
	if said == failure && p.streak < probe.FailureThreshold || said == success && p.streak < probe.SuccessThreshold {
		return h
	}
	p.result = said
	if k == Startup || k == Liveness && said == failure {
		p.held, p.streak = true, 0
	}
	return h
}

// probe runs the probes of a pod that are due, and returns when the next one is; zero if none is.
func (a *Agent) probe(ctx context.Context, w *work, pod *corev1.Pod, seen *observed, ending bool) (next time.Time) {
	for _, c := range containers(pod) {
		r := seen.latest(c.Name)
		if r == nil || r.state != runRunning {
			continue
		}
		for k := Startup; k <= Readiness; k++ {
			due := w.health[r.id].due(c, r, k, ending)
			if !due.IsZero() && !due.After(a.Clock.Now()) {
				a.probeOnce(ctx, w, pod, c, r, k)
				due = w.health[r.id].due(c, r, k, ending)
			}
			next = sooner(next, due)
		}
	}
	return next
}

func (a *Agent) probeOnce(ctx context.Context, w *work, pod *corev1.Pod, c *corev1.Container, r *run, k ProbeKind) {
	probe := k.of(c)
	limited, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	ok, output, err := a.Prober.Probe(limited, pod, c.Name, r.id, k, probe)
	now := a.Clock.Now()
	switch {
	case err != nil:
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Unhealthy", "%s probe errored and resulted in unknown state: %v", k, err)
		h := w.health[r.id]
		h[k].next = now.Add(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
		w.health[r.id] = h
		return
	case !ok:
		a.containerEvent(pod, c.Name, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", k, output)
	}
	w.health[r.id] = w.health[r.id].after(k, probe, ok, now)
}

// sooner is the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
