package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// Each pod is counted once, whatever is lost or crashes on the way. It cannot vanish before, for it has a finalizer:
//
//	1. the pod's UID is noted in the status (an index that succeeded is noted by itself)
//	2. the pod loses its finalizer
//	3. the UID leaves the status and the number rises, in one write
//
// A UID in the status whose pod has no finalizer has been through 2, so that 3 can follow at any later time.

// mostNoted bounds the UIDs in a status, so that it stays below some 20 kB.
const mostNoted = 500

// note writes finished pods into the status, and returns those that may lose their finalizers after that. more is true if
// there are others that have to wait for another turn.
func (v *jobView) note() (settled []*corev1.Pod, more bool) {
	noted := v.job.Status.UncountedTerminatedPods
	var indexesDone []int
	for _, p := range v.pods {
		if !isTracked(p) || !v.settled(p) {
			continue
		}
		settled = append(settled, p)
		index := indexOf(p)
		switch {
		case isIndexed(v.job) && !v.inRange(index):
		case p.Status.Phase == corev1.PodSucceeded && !v.notedFailed[p.UID]:
			switch {
			case !isIndexed(v.job) && !v.notedSucceeded[p.UID]:
				noted.Succeeded = append(noted.Succeeded, p.UID)
			case isIndexed(v.job) && !v.storedIndexes.has(index):
				indexesDone = append(indexesDone, index)
			}
		case v.notedFailed[p.UID] || !v.countsAsFailed(p):
		default:
			rule := ruleOn(v.job.Spec.PodFailurePolicy, p)
			if rule.action != "" {
				v.ruled[rule.action]++
			}
			if rule.counts() {
				noted.Failed = append(noted.Failed, p.UID)
			}
		}
		if len(indexesDone)+len(noted.Succeeded)+len(noted.Failed) >= mostNoted {
			more = true
			break
		}
	}
	if isIndexed(v.job) {
		v.noteIndexes()
	}
	return settled, more
}

// settled reports that nothing more is to be learned from a pod. All are when the Job ends or goes.
func (v *jobView) settled(p *corev1.Pod) bool {
	if v.job.DeletionTimestamp != nil || v.verdict != nil || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	return hasFailed(v.job, p) && v.last[indexOf(p)] != p
}

// countsAsFailed is also true of what is still running when the Job fails.
func (v *jobView) countsAsFailed(p *corev1.Pod) bool {
	return hasFailed(v.job, p) || v.verdict != nil && v.verdict.Type != batchv1.JobSuccessCriteriaMet
}

func (v *jobView) noteIndexes() {
	s := &v.job.Status
	s.Succeeded, s.CompletedIndexes, s.FailedIndexes = int32(v.done.count()), v.done.String(), nil
	if v.job.Spec.BackoffLimitPerIndex != nil {
		text := v.hopeless.String()
		s.FailedIndexes = &text
	}
}

// count moves UIDs of pods that have no finalizer any more from the notes to the numbers.
func count(s *batchv1.JobStatus, tracked map[types.UID]bool) {
	move := func(noted *[]types.UID, number *int32) {
		left := slices.DeleteFunc(slices.Clone(*noted), func(uid types.UID) bool { return !tracked[uid] })
		*number += int32(len(*noted) - len(left))
		*noted = left
	}
	move(&s.UncountedTerminatedPods.Succeeded, &s.Succeeded)
	move(&s.UncountedTerminatedPods.Failed, &s.Failed)
}

// track brings the status up to date, counts the pods that have finished, and lets the Job end when nothing is left to
// count or to wait for. The condition that says how it will end is written before the first finalizer goes: the pods that
// were the reason may be gone a moment later.
func (x *jobs) track(ctx context.Context, t *Turn, v *jobView, stored *batchv1.Job, seen failures) error {
	tracked := map[types.UID]bool{}
	for _, p := range v.pods {
		if isTracked(p) {
			tracked[p.UID] = true
		}
	}
	count(&v.job.Status, tracked)
	settled, more := v.note()
	v.announce(t)
	stored, err := x.save(ctx, t, v, stored)
	if err != nil {
		return fmt.Errorf("adding uncounted pods to status: %w", err)
	}
	x.metrics.handled(v.ruled)
	x.remember(v.job, seen)

	released := make([]atomic.Bool, len(settled))
	problem := eachOf(len(settled), func(i int) error {
		err := release(ctx, t, settled[i])
		released[i].Store(err == nil)
		return err
	})
	for i, p := range settled {
		if released[i].Load() {
			delete(tracked, p.UID)
		}
	}
	count(&v.job.Status, tracked)
	ended := problem == nil && !more && v.end(t)
	if _, err := x.save(ctx, t, v, stored); err != nil {
		return fmt.Errorf("removing uncounted pods from status: %w", err)
	}
	if ended {
		v.tellEnd(t)
		x.metrics.finished(v.job, v.verdict)
	}
	return problem
}

// save writes the status if it has changed, and returns what is stored now.
func (x *jobs) save(ctx context.Context, t *Turn, v *jobView, stored *batchv1.Job) (*batchv1.Job, error) {
	if equality.Semantic.DeepEqual(stored.Status, v.job.Status) {
		return stored, nil
	}
	now, err := UpdateStatus(ctx, t, t.Client.BatchV1().Jobs(t.Namespace), v.job)
	if err != nil {
		return nil, fmt.Errorf("status of job %s: %w", t.Key, err)
	}
	x.metrics.counted(stored, now)
	v.job = now.DeepCopy()
	if v.job.Status.UncountedTerminatedPods == nil {
		v.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	return now, nil
}

// announce puts the interim condition into the status, and turns the verdict into the final one.
func (v *jobView) announce(t *Turn) {
	if v.verdict == nil {
		return
	}
	final := batchv1.JobFailed
	if v.verdict.Type == batchv1.JobSuccessCriteriaMet {
		final = batchv1.JobComplete
	}
	if v.verdict.Type != final {
		if v.condition(v.verdict.Type) == nil {
			v.job.Status.Conditions = append(v.job.Status.Conditions, *v.verdict)
		}
		v.verdict = jobCondition(final, v.verdict.Reason, v.verdict.Message, t.Now)
	}
}

// end adds the final condition, unless there are pods that are not counted yet or have not ended.
func (v *jobView) end(t *Turn) bool {
	noted := v.job.Status.UncountedTerminatedPods
	if v.verdict == nil || len(noted.Succeeded)+len(noted.Failed) > 0 || v.terminating > 0 {
		return false
	}
	v.setCondition(v.verdict)
	if v.verdict.Type == batchv1.JobComplete {
		v.job.Status.CompletionTime = &v.verdict.LastTransitionTime
	}
	return true
}

func (v *jobView) tellEnd(t *Turn) {
	if v.verdict.Type != batchv1.JobComplete {
		t.Event(v.job, corev1.EventTypeWarning, v.verdict.Reason, "%s", v.verdict.Message)
		return
	}
	if wanted := v.job.Spec.Completions; wanted != nil && v.job.Status.Succeeded > *wanted {
		t.Event(v.job, corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	t.Event(v.job, corev1.EventTypeNormal, "Completed", "Job completed")
}
