package controllers

import (
	"context"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// jobs promises that pods of a Job run, as many at a time as it allows, until enough of them have succeeded or too many
// have failed; and that each is counted once. A turn is: whose pods are whose, what do they amount to (jobView), does the
// Job end (judge), which pods come and go (plan), and what does the status say (track).
//
// The subtle case is counting: pods may be deleted by anybody at any time, the process may end between any two writes,
// and answers get lost (see job_tracking.go).
type jobs struct {
	lister  batchlisters.JobLister
	jobs    *Source
	pods    *Source
	numbers *podNumbers
	metrics *jobMetrics
	clock   clock.PassiveClock

	mu       sync.Mutex // guards the fields below
	failures map[types.UID]failures
	dropped  map[types.UID]map[types.UID]bool // by Job: pods that are deleted without being counted
}

func newJobs(c *Config) Loop {
	x := &jobs{lister: c.Informers.Batch().V1().Jobs().Lister(), jobs: c.Source(&batchv1.Job{}), pods: c.Source(&corev1.Pod{}), metrics: newJobMetrics(c), clock: c.Clock,
		failures: map[types.UID]failures{}, dropped: map[types.UID]map[types.UID]bool{}}
	x.numbers = newPodNumbers("Job", x.jobs, func(p *corev1.Pod) string { return p.Annotations[batchv1.JobCompletionIndexAnnotation] })
	return Loop{
		Watches: []Watch{{x.jobs, x.respecified}},
		// A Job with many pods would else be written for each of them.
		Gathered:  []Watch{{x.jobs, x.restated}, {x.pods, x.jobsOf}},
		Reconcile: x.reconcile,
		Beside:    x.strays(),
	}
}

// respecified are Jobs that somebody has made, changed or deleted.
func (x *jobs) respecified(old, now metav1.Object) []Key {
	if old != nil && now != nil && old.GetGeneration() == now.GetGeneration() {
		return nil
	}
	if now == nil {
		x.forget(old.GetUID())
	}
	return itself(old, now)
}

// restated are Jobs whose status or metadata has changed.
func (x *jobs) restated(old, now metav1.Object) []Key {
	if old == nil || now == nil || old.GetGeneration() != now.GetGeneration() {
		return nil
	}
	return itself(old, now)
}

// jobsOf are the Jobs that a change of a pod concerns.
func (x *jobs) jobsOf(old, now metav1.Object) []Key {
	x.numbers.saw(old, now)
	x.metrics.saw(old, now)
	return ownersOrMatching("Job", old, now, x.matching)
}

func (x *jobs) matching(pod metav1.Object) []Key {
	all, _ := x.lister.Jobs(pod.GetNamespace()).List(labels.Everything()) // a cache does not fail
	return selecting(pod, all, func(j *batchv1.Job) *metav1.LabelSelector { return j.Spec.Selector })
}

// managedElsewhere reports that another controller takes care of a Job.
func managedElsewhere(j *batchv1.Job) bool {
	return ptr.Deref(j.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName
}

func (x *jobs) reconcile(ctx context.Context, t *Turn) error {
	stored, err := x.lister.Jobs(t.Namespace).Get(t.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case managedElsewhere(stored):
		return nil
	case jobEnd(stored) != nil:
		x.forget(stored.UID)
		return nil
	}
	switch ptr.Deref(stored.Spec.CompletionMode, batchv1.NonIndexedCompletion) {
	case batchv1.NonIndexedCompletion, batchv1.IndexedCompletion:
	default:
		t.Event(stored, corev1.EventTypeWarning, "UnknownCompletionMode", "Skipped Job sync because completion mode is unknown")
		return nil
	}
	begun := x.clock.Now()
	action, err := x.sync(ctx, t, stored)
	x.metrics.turned(stored, action, err, x.clock.Since(begun))
	return err
}

// sync brings a Job that has not ended a step on. It returns what it did with pods.
func (x *jobs) sync(ctx context.Context, t *Turn, stored *batchv1.Job) (action string, err error) {
	action = jobReconciling
	// 1. Whose pods are whose? Those that are adopted are looked at when the cache shows them as the Job's own.
	version := x.numbers.version(stored.UID)
	pods, adopted, err := x.claim(ctx, t, stored)
	if err != nil {
		return action, err
	}
	if adopted {
		t.Again(time.Millisecond)
		return action, nil
	}
	if unseen, err := x.finishDropping(ctx, t, stored, pods); unseen || err != nil {
		t.Again(time.Millisecond)
		return action, err
	}
	// 2. What do they amount to, and does the Job end with that?
	v := viewJob(stored, pods, t.Now)
	v.mayStart(t.Now)
	seen := x.recall(stored.UID).after(v.newSucceeded, v.newFailed)
	v.verdict = v.judge(t.Now)
	if rest := v.deadlineIn(t.Now); rest > 0 {
		t.Again(rest)
	}
	// 3. Which pods come and go?
	active, action, problem := x.managePods(ctx, t, v, seen, version)
	// 4. What does the status say? Counting may end the Job.
	s := &v.job.Status
	s.Active, s.Ready, s.Terminating = active, ptr.To(v.ready), ptr.To(v.terminating)
	if err := x.track(ctx, t, v, stored, seen); err != nil {
		return action, err
	}
	return action, problem
}

func (x *jobs) claim(ctx context.Context, t *Turn, j *batchv1.Job) (pods []*corev1.Pod, adopted bool, err error) {
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil {
		return nil, false, err
	}
	claimed := claimOf(j, selector, Claimable[*corev1.Pod](x.pods, j))
	claimed.finalizers = []string{batchv1.JobTrackingFinalizer}
	err = claimPods(ctx, t, claimed, j, ownedBy(j, metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}), func(ctx context.Context) (metav1.Object, error) {
		return t.Client.BatchV1().Jobs(t.Namespace).Get(ctx, j.Name, metav1.GetOptions{})
	})
	return claimed.mine, len(claimed.adopt) > 0, err
}

// managePods deletes the active pods of a Job that ends, and brings those of another to the number that is wanted. It
// returns how many are active then, and what was done.
func (x *jobs) managePods(ctx context.Context, t *Turn, v *jobView, seen failures, version int) (active int32, action string, err error) {
	active, action = int32(len(v.active)), jobReconciling
	if v.verdict != nil {
		gone, err := x.remove(ctx, t, v, v.active, false)
		if gone < active {
			v.verdict = nil // it is too early: the rest of the pods would be counted as finished
		}
		return active - gone, action, err
	}
	if v.job.DeletionTimestamp == nil {
		steps := v.plan(seen.delay(t.Now), t.Now)
		action = steps.action()
		if steps.wait > 0 {
			t.Again(max(steps.wait, gathering))
		}
		active, err = x.carryOut(ctx, t, v, steps, version)
	}
	switch {
	case v.complete(active):
		v.verdict = jobCondition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", t.Now)
	case v.job.DeletionTimestamp == nil:
		v.suspendOrResume(t)
	}
	return active, action, err
}

// suspendOrResume says which of the two the Job is. While it is suspended its time does not run: resumed, it starts anew.
func (v *jobView) suspendOrResume(t *Turn) {
	c := jobCondition(batchv1.JobSuspended, "JobSuspended", "Job suspended", t.Now)
	if isSuspended(v.job) {
		if v.setCondition(c) {
			t.Event(v.job, corev1.EventTypeNormal, "Suspended", "Job suspended")
			v.job.Status.StartTime = nil
		}
		return
	}
	c.Status, c.Reason, c.Message = corev1.ConditionFalse, "JobResumed", "Job resumed"
	if v.setCondition(c) {
		t.Event(v.job, corev1.EventTypeNormal, "Resumed", "Job resumed")
		v.job.Status.StartTime = ptr.To(metav1.Time{Time: t.Now})
	}
}

func (x *jobs) recall(uid types.UID) failures {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failures[uid]
}

func (x *jobs) remember(j *batchv1.Job, f failures) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failures[j.UID] = f
}

func (x *jobs) forget(uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.failures, uid)
	delete(x.dropped, uid)
	x.numbers.forget(uid)
}

// strays lets go of pods that still have the tracking finalizer, and that no Job will count any more: they have no
// controller, or it is a Job that has ended or is gone. Its keys are pods.
func (x *jobs) strays() *Loop {
	return &Loop{
		Watches: []Watch{
			{Source: x.pods, Keys: func(_, now metav1.Object) []Key {
				if p, there := now.(*corev1.Pod); there && isTracked(p) && x.mayBeStray(p) {
					return []Key{KeyOf(p)}
				}
				return nil
			}},
			{Source: x.jobs, Keys: x.leftBy},
		},
		Reconcile: x.letGo,
	}
}

// leftBy are the pods of a Job that is gone or has ended.
func (x *jobs) leftBy(old, now metav1.Object) (keys []Key) {
	if now != nil && jobEnd(now.(*batchv1.Job)) == nil {
		return nil
	}
	if now != nil {
		old = now
	}
	for _, p := range Owned[*corev1.Pod](x.pods, old) {
		if isTracked(p) {
			keys = append(keys, KeyOf(p))
		}
	}
	return keys
}

// mayBeStray reports that as far as the cache knows no Job counts a pod.
func (x *jobs) mayBeStray(p *corev1.Pod) bool {
	reference := metav1.GetControllerOfNoCopy(p)
	if reference == nil {
		return true
	}
	if reference.Kind != "Job" || reference.APIVersion != batchv1.SchemeGroupVersion.String() {
		return false
	}
	j, err := x.lister.Jobs(p.Namespace).Get(reference.Name)
	return err != nil || j.UID != reference.UID || jobEnd(j) != nil && !managedElsewhere(j)
}

func (x *jobs) letGo(ctx context.Context, t *Turn) error {
	o, there := x.pods.cached(t.Key).(*corev1.Pod)
	if !there || !isTracked(o) || !x.mayBeStray(o) {
		return nil
	}
	// A Job that the cache does not know may be newer than what the cache has seen.
	if reference := metav1.GetControllerOfNoCopy(o); reference != nil {
		j, err := t.Client.BatchV1().Jobs(t.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return err
		case err == nil && j.UID == reference.UID && (jobEnd(j) == nil || managedElsewhere(j)):
			return nil
		}
	}
	// With the revision: a Job may be about to adopt the pod, and needs the finalizer then.
	patch := metadataPatch(map[string]any{"uid": o.UID, "resourceVersion": o.ResourceVersion,
		"$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer}})
	_, err := Patch[*corev1.Pod](ctx, t, t.Client.CoreV1().Pods(t.Namespace), o.Name, types.StrategicMergePatchType, patch)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
