package controllers

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// jobView is a Job with its pods at one moment, and what follows from them. A pod whose success or failure is not yet in
// the Job's status still has the tracking finalizer: pods without it have been counted, and are passed over.
type jobView struct {
	now    time.Time
	job    *batchv1.Job  // a copy, whose status becomes the new one
	pods   []*corev1.Pod // in the order of their indexes
	active []*corev1.Pod

	newSucceeded, newFailed       []*corev1.Pod // finished and not yet noted in the status
	notedSucceeded, notedFailed   map[types.UID]bool
	succeeded, failed             int32 // with those that are not yet counted in the status
	ready, terminating            int32
	storedIndexes, done, hopeless indexes // succeeded as the status has it, succeeded, and failed for good
	// last has, for each index that waits for another try, the pod that failed last. It is kept until there is a new
	// one, for it carries the number of failures.
	last map[int]*corev1.Pod
	// ruled is how many of the failed pods that are noted now the failure policy has a rule about, by what it says.
	ruled map[batchv1.PodFailurePolicyAction]int
	// verdict is the condition that the Job ends with, or has ended with; nil while it goes on.
	verdict *batchv1.JobCondition
}

func viewJob(stored *batchv1.Job, pods []*corev1.Pod, now time.Time) *jobView {
	v := &jobView{now: now, job: stored.DeepCopy(), pods: slices.Clone(pods), ruled: map[batchv1.PodFailurePolicyAction]int{}}
	if v.job.Status.UncountedTerminatedPods == nil {
		v.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	slices.SortStableFunc(v.pods, func(a, b *corev1.Pod) int { return indexOf(a) - indexOf(b) })
	noted := v.job.Status.UncountedTerminatedPods
	v.notedSucceeded, v.notedFailed = uidSet(noted.Succeeded), uidSet(noted.Failed)
	for _, p := range v.pods {
		v.look(p)
	}
	v.succeeded = stored.Status.Succeeded + int32(len(v.newSucceeded)+len(v.notedSucceeded))
	v.failed = stored.Status.Failed + int32(len(v.notedFailed))
	for _, p := range v.newFailed {
		if ruleOn(stored.Spec.PodFailurePolicy, p).counts() {
			v.failed++
		}
	}
	if isIndexed(stored) {
		v.lookAtIndexes()
	}
	return v
}

// look sorts a pod by what has become of it.
func (v *jobView) look(p *corev1.Pod) {
	switch {
	case isActive(p):
		v.active = append(v.active, p)
		if isReady(p) {
			v.ready++
		}
	case isTerminating(p):
		v.terminating++
	}
	switch {
	case !isTracked(p) || isIndexed(v.job) && !v.inRange(indexOf(p)):
	case p.Status.Phase == corev1.PodSucceeded:
		if !v.notedSucceeded[p.UID] {
			v.newSucceeded = append(v.newSucceeded, p)
		}
	case hasFailed(v.job, p) && !v.notedFailed[p.UID]:
		v.newFailed = append(v.newFailed, p)
	}
}

func (v *jobView) lookAtIndexes() {
	completions := int(*v.job.Spec.Completions)
	v.storedIndexes = parseIndexes(v.job.Status.CompletedIndexes, completions)
	v.done = v.storedIndexes
	v.hopeless = parseIndexes(ptr.Deref(v.job.Status.FailedIndexes, ""), completions)
	for _, p := range v.pods {
		switch index := indexOf(p); {
		case !v.inRange(index) || !isTracked(p):
		case p.Status.Phase == corev1.PodSucceeded:
			v.done = v.done.with(index)
		case isHopeless(v.job, p):
			v.hopeless = v.hopeless.with(index)
		}
	}
	v.succeeded = int32(v.done.count())
	if v.job.Spec.BackoffLimitPerIndex == nil {
		v.hopeless = nil
		return
	}
	v.last = v.lastFailures()
}

func (v *jobView) inRange(index int) bool {
	return index != noIndex && index < int(*v.job.Spec.Completions)
}

// lastFailures finds, for each index that is neither running nor decided, the pod that failed last.
func (v *jobView) lastFailures() map[int]*corev1.Pod {
	last, running := map[int]*corev1.Pod{}, indexesOf(v.active)
	number := func(p *corev1.Pod) int32 {
		counted, ignored := indexFailures(p)
		return counted + ignored
	}
	for _, p := range v.pods {
		index := indexOf(p)
		if !isTracked(p) || !v.inRange(index) || !hasFailed(v.job, p) || v.done.has(index) || v.hopeless.has(index) || running.has(index) {
			continue
		}
		if other := last[index]; other == nil || number(other) <= number(p) && !finishedAt(p).Before(finishedAt(other)) {
			last[index] = p
		}
	}
	return last
}

// judge decides whether the Job ends, and how. The order counts, for a Job may have several reasons: what was decided in
// an earlier turn stands; then reasons to fail; then the success policy. That there are as many successes as are wanted
// is decided when the pods have been dealt with.
func (v *jobView) judge(now time.Time) *batchv1.JobCondition {
	if decided := v.condition(batchv1.JobSuccessCriteriaMet); decided != nil {
		return decided
	}
	if decided := v.condition(batchv1.JobFailureTarget); decided != nil {
		return jobCondition(batchv1.JobFailed, decided.Reason, decided.Message, now)
	}
	if reason, message := v.failure(now); reason != "" {
		return jobCondition(batchv1.JobFailureTarget, reason, message, now)
	}
	if isIndexed(v.job) {
		if rule, met := successRule(v.job.Spec.SuccessPolicy, v.done, int(*v.job.Spec.Completions)); met {
			return jobCondition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule), now)
		}
	}
	return nil
}

// failure is the first reason for which the Job fails now.
func (v *jobView) failure(now time.Time) (reason, message string) {
	spec := &v.job.Spec
	for _, p := range v.pods {
		if hasFailed(v.job, p) {
			if r := ruleOn(spec.PodFailurePolicy, p); r.message != "" {
				return batchv1.JobReasonPodFailurePolicy, r.message
			}
		}
	}
	decided := v.hopeless.count() + v.done.count()
	switch {
	case v.failed > *spec.BackoffLimit || v.restartedTooOften():
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	case v.deadlineIn(now) < 0:
		return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
	case len(v.hopeless) == 0:
	case spec.MaxFailedIndexes != nil && v.hopeless.count() > int(*spec.MaxFailedIndexes):
		return batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
	case decided >= int(*spec.Completions):
		return batchv1.JobReasonFailedIndexes, "Job has failed indexes"
	}
	return "", ""
}

// restartedTooOften applies the back-off limit to containers that are restarted in their pods.
func (v *jobView) restartedTooOften() bool {
	if v.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, p := range v.pods {
		if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
			for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				n += s.RestartCount
			}
		}
	}
	return n > 0 && n >= *v.job.Spec.BackoffLimit
}

// deadlineIn is how long the Job may still be active: negative if its time is over, zero if it has no deadline.
func (v *jobView) deadlineIn(now time.Time) time.Duration {
	if v.job.Spec.ActiveDeadlineSeconds == nil || v.job.Status.StartTime == nil || isSuspended(v.job) {
		return 0
	}
	rest := v.job.Status.StartTime.Add(time.Duration(*v.job.Spec.ActiveDeadlineSeconds) * time.Second).Sub(now)
	if rest <= 0 {
		return -1
	}
	return rest
}

// complete reports that all is done that is wanted: as many successes as there are completions, or where their number is
// open, one success and no pod that still runs.
func (v *jobView) complete(active int32) bool {
	wanted := int32(1)
	if v.job.Spec.Completions != nil {
		wanted = *v.job.Spec.Completions
	}
	return v.succeeded >= wanted && active == 0
}

func (v *jobView) condition(of batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range v.job.Status.Conditions {
		if c.Type == of && c.Status == corev1.ConditionTrue {
			return &v.job.Status.Conditions[i]
		}
	}
	return nil
}

// setCondition reports whether it changed anything. What has never been true is not said to be false.
func (v *jobView) setCondition(c *batchv1.JobCondition) bool {
	list := v.job.Status.Conditions
	at := slices.IndexFunc(list, func(o batchv1.JobCondition) bool { return o.Type == c.Type })
	switch {
	case at < 0 && c.Status == corev1.ConditionFalse,
		at >= 0 && list[at].Status == c.Status && list[at].Reason == c.Reason && list[at].Message == c.Message:
		return false
	case at < 0:
		v.job.Status.Conditions = append(list, *c)
	default:
		list[at] = *c
	}
	return true
}

func jobCondition(of batchv1.JobConditionType, reason, message string, now time.Time) *batchv1.JobCondition {
	return &batchv1.JobCondition{Type: of, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastProbeTime: metav1.Time{Time: now}, LastTransitionTime: metav1.Time{Time: now}}
}

func isIndexed(j *batchv1.Job) bool {
	return ptr.Deref(j.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func isSuspended(j *batchv1.Job) bool { return ptr.Deref(j.Spec.Suspend, false) }

// jobEnd is the condition with which a Job has ended; nil if it has not.
func jobEnd(j *batchv1.Job) *batchv1.JobCondition {
	for i, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// awaitsPhase reports that a pod which goes is not replaced, and has not failed, before it has ended.
func awaitsPhase(j *batchv1.Job) bool {
	return j.Spec.PodFailurePolicy != nil || ptr.Deref(j.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// hasFailed reports whether a pod has failed. One that is told to go counts as failed, for it may never say so itself,
// unless the Job wants to wait for that.
func hasFailed(j *batchv1.Job, p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || !awaitsPhase(j) && isTerminating(p)
}

// isHopeless reports that a pod's index gets no other try.
func isHopeless(j *batchv1.Job, p *corev1.Pod) bool {
	if j.Spec.BackoffLimitPerIndex == nil || !hasFailed(j, p) {
		return false
	}
	r := ruleOn(j.Spec.PodFailurePolicy, p)
	counted, _ := indexFailures(p)
	return r.action == batchv1.PodFailurePolicyActionFailIndex || r.counts() && counted >= *j.Spec.BackoffLimitPerIndex
}

func isTracked(p *corev1.Pod) bool {
	return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
}

// isTerminating reports that a pod is going and has not ended yet.
func isTerminating(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func uidSet(list []types.UID) map[types.UID]bool {
	set := map[types.UID]bool{}
	for _, uid := range list {
		set[uid] = true
	}
	return set
}
