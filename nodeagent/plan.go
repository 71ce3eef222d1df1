package nodeagent

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// situation is all that a decision about a pod depends on.
type situation struct {
	pod      *corev1.Pod
	ending   bool // deleted, over its deadline, or forgotten by the API: nothing is started any more
	seen     observed
	health   map[string]health  // by container ID
	backoffs map[string]backoff // by container
	revive   map[string]bool    // IDs of runs that were stopped in order to be started again
	now      time.Time

	resetting bool // all containers are being ended, to be started again
}

// actions are what is to be done about a pod, in this order.
type actions struct {
	stop    []stopping
	end     bool // stop everything that runs (see ending), then the sandbox
	reset   bool // end all containers, to start them again from the first on
	sandbox bool // run a new one
	start   []starting
	hold    map[string]holding // containers that would be started but have to wait
}

// starting is a container to start.
type starting struct {
	container *corev1.Container
	attempt   int32
}

// stopping is a container to stop.
type stopping struct {
	run     run
	grace   int64 // seconds
	message string
}

// holding is a container that ended too often lately.
type holding struct {
	until time.Time
	delay time.Duration
}

// plan decides what to do: pure, and run again whenever anything changes.
//
// The order is upstream's. A pod without a sandbox begins with one. Ephemeral containers start at once. Init containers
// run one after the other; a sidecar counts as done when it has started. When all are done, regular containers run
// together. A pod whose containers have all ended for good has its sidecars and sandbox stopped.
func plan(s *situation) actions {
	var a actions
	if s.ending {
		a.end = true
		return a
	}
	if s.seen.sandbox == nil || !s.seen.sandbox.ready {
		return s.begin()
	}
	if s.resetting || s.resets() {
		return actions{reset: true}
	}
	for i := range s.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&s.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if s.seen.latest(c.Name) == nil {
			a.start = append(a.start, starting{c, 0})
		}
	}
	if initialized := s.planInit(&a); a.end || !initialized {
		s.holdBack(&a)
		return a
	}
	kept := 0
	for i := range s.pod.Spec.Containers {
		if s.planRegular(&s.pod.Spec.Containers[i], &a) {
			kept++
		}
	}
	if kept == 0 && !slices.ContainsFunc(a.start, func(x starting) bool { return isRegular(s.pod, x.container) }) {
		return actions{end: true, stop: a.stop}
	}
	s.holdBack(&a)
	return a
}

func isRegular(p *corev1.Pod, c *corev1.Container) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(x corev1.Container) bool { return x.Name == c.Name })
}

// begin is the plan for a pod without a sandbox: the first time, or after the one that it had has ended. A pod that has
// nothing left to run gets none.
func (s *situation) begin() (a actions) {
	ran, left := false, false
	for i := range s.pod.Spec.Containers {
		c := &s.pod.Spec.Containers[i]
		r := s.seen.latest(c.Name)
		ran = ran || r != nil
		left = left || r == nil || r.state != runExited || restartsAfter(s.pod, c, r.exitCode)
	}
	if ran && !left {
		a.end = true
		return a
	}
	if failed := s.failedInit(); failed {
		a.end = true
		return a
	}
	a.sandbox = true
	return a
}

// failedInit reports whether an init container has failed for good.
func (s *situation) failedInit() bool {
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		if r := s.seen.latest(c.Name); r != nil && r.state == runExited && r.exitCode != 0 && !restartsAfter(s.pod, c, r.exitCode) {
			return true
		}
	}
	return false
}

// planRegular plans for a regular container and reports whether it is to be kept as it is.
func (s *situation) planRegular(c *corev1.Container, a *actions) (kept bool) {
	r := s.seen.latest(c.Name)
	switch {
	case r == nil:
		a.start = append(a.start, starting{c, s.seen.attempt(c.Name)})
	case r.state == runRunning && redefined(c, r):
		a.stop = append(a.stop, stopping{*r, s.graceOf(c, ""), fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)})
		return true
	case r.state == runRunning:
		unwell := s.unwell(r)
		if unwell == "" {
			return true
		}
		message := fmt.Sprintf("Container %s failed %s probe", c.Name, unwell)
		if restartsWhenUnwell(s.pod, c) {
			message += ", will be restarted"
			kept = true
		}
		a.stop = append(a.stop, stopping{*r, s.graceOf(c, unwell), message})
	case r.state == runCreated, s.revive[r.id], restartsAfter(s.pod, c, r.exitCode):
		a.start = append(a.start, starting{c, r.attempt + 1})
	}
	return kept
}

// unwell names the probe that says that a run is to be ended; empty if none does.
func (s *situation) unwell(r *run) string {
	h := s.health[r.id]
	switch {
	case h.of(Liveness) == failure:
		return "liveness"
	case h.of(Startup) == failure:
		return "startup"
	}
	return ""
}

// graceOf is how long a container has to end, in seconds: what the pod's deletion says, then the probe that failed, then
// the pod.
func (s *situation) graceOf(c *corev1.Container, unwell string) int64 {
	if s.pod.DeletionTimestamp != nil && s.pod.DeletionGracePeriodSeconds != nil {
		return *s.pod.DeletionGracePeriodSeconds
	}
	probe := map[string]*corev1.Probe{"liveness": c.LivenessProbe, "startup": c.StartupProbe}[unwell]
	if probe != nil && probe.TerminationGracePeriodSeconds != nil {
		return *probe.TerminationGracePeriodSeconds
	}
	return ptr.Deref(s.pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
}

// holdBack takes from the plan what has to wait because it ended too often lately.
func (s *situation) holdBack(a *actions) {
	a.hold = map[string]holding{}
	a.start = slices.DeleteFunc(a.start, func(x starting) bool {
		r, b := s.seen.latest(x.container.Name), s.backoffs[x.container.Name]
		if r == nil || r.state != runExited {
			return false
		}
		until := b.until(r.finished)
		if !until.After(s.now) {
			return false
		}
		a.hold[x.container.Name] = holding{until, b.delay}
		return true
	})
}
