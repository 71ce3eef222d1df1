package controllers

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// Pods that fail are replaced later and later.
const (
	firstPodBackoff = 10 * time.Second
	lastPodBackoff  = 10 * time.Minute
)

// failures are those of a Job's pods since the last of them succeeded.
type failures struct {
	count int32
	last  time.Time
}

// after adds pods that have finished in the meantime. A success wipes out what failed before it.
func (f failures) after(succeeded, failed []*corev1.Pod) failures {
	var success time.Time
	if len(succeeded) > 0 {
		f, success = failures{}, latestFinish(succeeded)
	}
	for _, p := range failed {
		if at := finishedAt(p); len(succeeded) == 0 || at.After(success) {
			f.count++
			if at.After(f.last) {
				f.last = at
			}
		}
	}
	return f
}

// delay is how long it is until the next pod may be created.
func (f failures) delay(now time.Time) time.Duration {
	if f.count == 0 {
		return 0
	}
	backoff := firstPodBackoff
	for n := f.count; n > 1 && backoff < lastPodBackoff; n-- {
		backoff *= 2
	}
	return max(0, min(backoff, lastPodBackoff)-now.Sub(f.last))
}

// indexDelay is that of one index, where failed is its last pod: nil if none has failed yet.
func indexDelay(failed *corev1.Pod, now time.Time) time.Duration {
	if failed == nil {
		return 0
	}
	counted, ignored := indexFailures(failed)
	return failures{counted + ignored + 1, finishedAt(failed)}.delay(now)
}

func latestFinish(pods []*corev1.Pod) time.Time {
	return finishedAt(slices.MaxFunc(pods, func(a, b *corev1.Pod) int { return finishedAt(a).Compare(finishedAt(b)) }))
}

// finishedAt is when a pod ended: with its last container, sidecars included. Where that is not known, when it ceased to be
// ready, was told to go, or at the very least was created.
func finishedAt(p *corev1.Pod) time.Time {
	if at, known := containersFinishedAt(p); known {
		return at
	}
	if c := podCondition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if p.DeletionTimestamp != nil {
		return p.DeletionTimestamp.Add(-time.Duration(ptr.Deref(p.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return p.CreationTimestamp.Time
}

func containersFinishedAt(p *corev1.Pod) (last time.Time, known bool) {
	sidecar := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		sidecar[c.Name] = ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
	}
	statuses := slices.Clone(p.Status.ContainerStatuses)
	for _, s := range p.Status.InitContainerStatuses {
		if sidecar[s.Name] {
			statuses = append(statuses, s)
		}
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return last, false
		}
		if at := s.State.Terminated.FinishedAt.Time; at.After(last) {
			last = at
		}
	}
	return last, !last.IsZero()
}
