package nodeagent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// planInit plans for init containers, and reports whether the regular ones may run.
//
// It goes from the last to the first: the last that has ever run tells how far the pod has come, and those before it are
// done, save sidecars, which have to run for as long as the pod does.
func (s *situation) planInit(a *actions) (initialized bool) {
	all := s.pod.Spec.InitContainers
	if len(all) == 0 {
		return true
	}
	initialized = s.regularIsActive()
	passed := initialized // what comes before has been done
	var start []int       // backwards
	for i := len(all) - 1; i >= 0; i-- {
		c := &all[i]
		r := s.seen.latest(c.Name)
		switch {
		case r == nil:
			if passed && isSidecar(c) {
				start = append(start, i)
			}
			continue
		case passed && !isSidecar(c):
			continue
		}
		again, done := s.planInitRun(c, r, a)
		if a.end {
			return false
		}
		if again {
			start = append(start, i)
		}
		if done && i == len(all)-1 {
			initialized = true
		} else if done && !passed {
			start = append(start, i+1)
		}
		passed = true
	}
	if !passed {
		start = append(start, 0)
	}
	for n := len(start) - 1; n >= 0; n-- {
		c := &all[start[n]]
		a.start = append(a.start, starting{c, s.seen.attempt(c.Name)})
	}
	return initialized
}

// regularIsActive reports whether a regular container runs, and so all init containers have been done.
func (s *situation) regularIsActive() bool {
	for i := range s.pod.Spec.Containers {
		if r := s.seen.latest(s.pod.Spec.Containers[i].Name); r != nil && r.state != runExited {
			return true
		}
	}
	return false
}

// planInitRun judges an init container that has run: is it to be started again, and may the next one run?
func (s *situation) planInitRun(c *corev1.Container, r *run, a *actions) (again, done bool) {
	sidecar := isSidecar(c)
	switch {
	case r.state == runCreated:
		return true, false
	case r.state == runRunning && !sidecar:
		return false, false
	case r.state == runRunning:
		started := c.StartupProbe == nil || s.health[r.id].of(Startup) == success
		if redefined(c, r) {
			a.stop = append(a.stop, stopping{*r, s.graceOf(c, ""), fmt.Sprintf("Init container %s definition changed", c.Name)})
		} else if unwell := s.unwell(r); unwell != "" {
			a.stop = append(a.stop, stopping{*r, s.graceOf(c, unwell), fmt.Sprintf("Init container %s failed %s probe", c.Name, unwell)})
		}
		return false, started
	case sidecar:
		return true, false
	case r.exitCode == 0:
		return false, true
	case !restartsAfter(s.pod, c, r.exitCode):
		a.end = true
		return false, false
	}
	return true, false
}
