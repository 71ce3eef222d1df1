package nodeagent

import (
	corev1 "k8s.io/api/core/v1"
)

// tally counts containers by how they stand.
type tally struct {
	pendingInit, failedInit, pendingSidecars    int
	running, waiting, ended, endedGood, forGood int
}

// phase sums a pod up. A finished pod stays as it is; one that is over but not finished has failed.
func (x *reading) phase(s *corev1.PodStatus) corev1.PodPhase {
	if finished(x.pod.Status.Phase) {
		return x.pod.Status.Phase
	}
	if finished(x.old.Phase) {
		return x.old.Phase
	}
	phase := x.tally(s).phase(x.ending, x.regularIsActive())
	if x.ending && x.over && !finished(phase) {
		abandon(s)
		return corev1.PodFailed
	}
	return phase
}

func (x *reading) regularIsActive() bool {
	return (&situation{pod: x.pod, seen: *x.seen}).regularIsActive()
}

func (x *reading) tally(s *corev1.PodStatus) (t tally) {
	for i := range x.pod.Spec.InitContainers {
		c, status := &x.pod.Spec.InitContainers[i], &s.InitContainerStatuses[i] // in this order
		if isSidecar(c) {
			t.countSidecar(status)
			continue
		}
		ended := endOf(status)
		switch {
		case ended == nil:
			t.pendingInit++
		case ended.ExitCode != 0 && !x.restarts(c, ended):
			t.failedInit++
		}
	}
	for i := range x.pod.Spec.Containers {
		c, status := &x.pod.Spec.Containers[i], &s.ContainerStatuses[i] // in this order as yet
		ended := endOf(status)
		switch {
		case status.State.Running != nil:
			t.running++
			continue
		case ended == nil:
			t.waiting++
			continue
		}
		t.ended++
		if !x.restarts(c, ended) {
			t.forGood++
		}
		if status.State.Terminated != nil && ended.ExitCode == 0 {
			t.endedGood++
		}
	}
	return t
}

// restarts reports whether a container that ended is started again: by its policy, or with all others.
func (x *reading) restarts(c *corev1.Container, ended *corev1.ContainerStateTerminated) bool {
	return ended.Reason == restartingAll || restartsAfter(x.pod, c, ended.ExitCode)
}

func (t *tally) countSidecar(s *corev1.ContainerStatus) {
	switch {
	case s.State.Running != nil:
		t.running++
		if s.Started == nil || !*s.Started {
			t.pendingSidecars++
		}
	case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
		t.pendingSidecars++
		t.waiting++
	}
}

// endOf is how a container that does not run ended; nil if it runs or never did.
func endOf(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case s.State.Terminated != nil:
		return s.State.Terminated
	case s.State.Waiting != nil:
		return s.LastTerminationState.Terminated
	}
	return nil
}

func (t tally) phase(ending, initialized bool) corev1.PodPhase {
	switch {
	case t.failedInit > 0:
		return corev1.PodFailed
	case t.pendingInit > 0, t.pendingSidecars > 0 && !initialized, t.waiting > 0:
		return corev1.PodPending
	case t.running > 0:
		return corev1.PodRunning
	case t.ended == 0:
		return corev1.PodPending
	case !ending && t.ended != t.forGood:
		return corev1.PodRunning
	case t.ended == t.endedGood:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}
