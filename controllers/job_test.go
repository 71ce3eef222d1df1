package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// jobNoon is the present of the tests in this file.
func jobNoon() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// jobOf is a Job of three at a time, six in all.
func jobOf(change ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "j", UID: "j"}}
	j.Spec.Parallelism, j.Spec.Completions, j.Spec.BackoffLimit = ptr.To[int32](3), ptr.To[int32](6), ptr.To[int32](6)
	for _, c := range change {
		c(j)
	}
	return j
}

func indexedJob(j *batchv1.Job) { j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion) }

func perIndex(limit int32) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		indexedJob(j)
		j.Spec.BackoffLimit, j.Spec.BackoffLimitPerIndex = ptr.To[int32](1<<30), &limit
	}
}

func onlyWhenFailed(j *batchv1.Job) { j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed) }

// ignoring137 ignores the exit code 137 and fails the Job with 3.
func ignoring137(j *batchv1.Job) {
	onlyWhenFailed(j)
	exit := func(code int32) *batchv1.PodFailurePolicyOnExitCodesRequirement {
		return &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{code}}
	}
	j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnExitCodes: exit(137)},
		{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: exit(3)},
	}}
}

type podChange = func(*corev1.Pod)

// podsOf makes a pod of each list of changes; all are tracked and pending.
func podsOf(each ...[]podChange) []*corev1.Pod {
	var pods []*corev1.Pod
	for i, changes := range each {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprint("p", i)),
			Finalizers: []string{batchv1.JobTrackingFinalizer}}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
		for _, c := range changes {
			c(p)
		}
		pods = append(pods, p)
	}
	return pods
}

func succeededPod(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
func runningPod(p *corev1.Pod)   { p.Status.Phase = corev1.PodRunning }
func goingPod(p *corev1.Pod)     { p.DeletionTimestamp = &metav1.Time{Time: jobNoon()} }
func countedPod(p *corev1.Pod)   { p.Finalizers = nil }

func failedPod(code int32, ago time.Duration) podChange {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodFailed
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Time{Time: jobNoon().Add(-ago)}}}}}
	}
}

func atIndex(i int) podChange {
	return func(p *corev1.Pod) {
		setEntry(&p.Annotations, batchv1.JobCompletionIndexAnnotation, fmt.Sprint(i))
	}
}

func failedBefore(n int) podChange {
	return func(p *corev1.Pod) { setEntry(&p.Annotations, batchv1.JobIndexFailureCountAnnotation, fmt.Sprint(n)) }
}

func TestJobPlan(t *testing.T) {
	running := []podChange{runningPod}
	for rule, test := range map[string]struct {
		job    *batchv1.Job
		pods   []*corev1.Pod
		remove []string
		create []int
		wait   time.Duration
	}{
		"no more than parallelism at a time": {job: jobOf(), create: []int{noIndex, noIndex, noIndex}},
		"no more than what is still to be completed": {job: jobOf(func(j *batchv1.Job) { j.Status.Succeeded = 5 }),
			create: []int{noIndex}},
		"those that run count": {job: jobOf(), pods: podsOf(running, running), create: []int{noIndex}},
		"without a number of completions none is started after the first success": {
			job:  jobOf(func(j *batchv1.Job) { j.Spec.Completions = nil }),
			pods: podsOf(running, []podChange{succeededPod})},
		"a suspended Job loses all active pods": {job: jobOf(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }),
			pods: podsOf(running, []podChange{succeededPod}, nil), remove: []string{"p0", "p2"}},
		"less parallelism takes those away that are not far": {job: jobOf(func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](1) }),
			pods: podsOf(running, nil), remove: []string{"p1"}},
		"a pod that is going is replaced at once":  {job: jobOf(), pods: podsOf(running, running, []podChange{runningPod, goingPod}), wait: 10 * time.Second},
		"unless the Job waits until it has failed": {job: jobOf(onlyWhenFailed), pods: podsOf(running, running, []podChange{runningPod, goingPod})},
		"failures hold up":                         {job: jobOf(), pods: podsOf([]podChange{failedPod(1, 4*time.Second)}), wait: 6 * time.Second},
		"and hold up for longer each time": {job: jobOf(), wait: 36 * time.Second,
			pods: podsOf([]podChange{failedPod(1, 4*time.Second)}, []podChange{failedPod(1, 30*time.Second)}, []podChange{failedPod(1, time.Minute)})},
		"the first free indexes come first": {job: jobOf(indexedJob, func(j *batchv1.Job) { j.Status.CompletedIndexes, j.Status.Succeeded = "0,2", 2 }),
			pods: podsOf([]podChange{runningPod, atIndex(3)}), create: []int{1, 4}},
		"an index twice, or beyond the last, or none, goes": {job: jobOf(indexedJob), remove: []string{"p3", "p1", "p2"},
			pods: podsOf([]podChange{runningPod, atIndex(0)}, []podChange{atIndex(0)}, []podChange{runningPod, atIndex(6)}, running)},
		"each index waits for itself": {job: jobOf(perIndex(5)), create: []int{1, 2}, wait: 9 * time.Second,
			pods: podsOf([]podChange{failedPod(1, time.Second), atIndex(0)})},
		"and for the time of its own failures": {job: jobOf(perIndex(5), func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](1) }), wait: 39 * time.Second,
			pods: podsOf([]podChange{failedPod(1, time.Second), atIndex(0), failedBefore(2)})},
		"an index that has failed for good is left alone": {job: jobOf(perIndex(0)), create: []int{1, 2, 3},
			pods: podsOf([]podChange{failedPod(1, time.Second), atIndex(0)})},
	} {
		t.Run(rule, func(t *testing.T) {
			v := viewJob(test.job, test.pods, jobNoon())
			got := v.plan(failures{}.after(v.newSucceeded, v.newFailed).delay(jobNoon()), jobNoon())
			var remove []string
			for _, p := range got.remove {
				remove = append(remove, p.Name)
			}
			if d := cmp.Diff(test.remove, remove); d != "" {
				t.Error("removed:", d)
			}
			if d := cmp.Diff(test.create, got.create); d != "" {
				t.Error("created:", d)
			}
			if got.wait != test.wait {
				t.Errorf("waits %v, not %v", got.wait, test.wait)
			}
		})
	}
}

func TestJobVerdict(t *testing.T) {
	condition := func(of batchv1.JobConditionType, reason string) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.Conditions = append(j.Status.Conditions, *jobCondition(of, reason, "m", jobNoon()))
		}
	}
	started := func(ago time.Duration) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.StartTime, j.Spec.ActiveDeadlineSeconds = &metav1.Time{Time: jobNoon().Add(-ago)}, ptr.To[int64](60)
		}
	}
	leader := func(j *batchv1.Job) {
		j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0,2-3"), SucceededCount: ptr.To[int32](2)}}}
	}
	failed := []podChange{failedPod(1, time.Minute)}
	for rule, test := range map[string]struct {
		job  *batchv1.Job
		pods []*corev1.Pod
		want string
	}{
		"goes on": {jobOf(started(59 * time.Second)), podsOf(failed), ""},
		"more failures than the limit": {jobOf(func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](1) }), podsOf(failed, failed),
			"FailureTarget BackoffLimitExceeded Job has reached the specified backoff limit"},
		"failures that are counted already are not counted again": {
			jobOf(func(j *batchv1.Job) { j.Spec.BackoffLimit, j.Status.Failed = ptr.To[int32](1), 1 }), podsOf([]podChange{failedPod(1, 0), countedPod}), ""},
		"restarts count where pods are restarted": {jobOf(func(j *batchv1.Job) {
			j.Spec.BackoffLimit, j.Spec.Template.Spec.RestartPolicy = ptr.To[int32](2), corev1.RestartPolicyOnFailure
		}), podsOf([]podChange{runningPod, func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} }}),
			"FailureTarget BackoffLimitExceeded Job has reached the specified backoff limit"},
		"a failure that the policy ignores does not count": {jobOf(ignoring137, func(j *batchv1.Job) { j.Spec.BackoffLimit = ptr.To[int32](0) }), podsOf([]podChange{failedPod(137, 0)}), ""},
		"a failure that ends the Job": {jobOf(ignoring137), podsOf(failed, []podChange{failedPod(3, 0)}),
			"FailureTarget PodFailurePolicy Container c for pod n/p1 failed with exit code 3 matching FailJob rule at index 1"},
		"over its time":                     {jobOf(started(time.Minute)), nil, "FailureTarget DeadlineExceeded Job was active longer than specified deadline"},
		"time stands still while suspended": {jobOf(started(time.Hour), func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }), nil, ""},
		"all indexes decided, and one in vain": {jobOf(perIndex(0), func(j *batchv1.Job) { j.Status.CompletedIndexes = "1-5" }),
			podsOf([]podChange{failedPod(1, 0), atIndex(0)}), "FailureTarget FailedIndexes Job has failed indexes"},
		"too many indexes in vain": {jobOf(perIndex(0), func(j *batchv1.Job) { j.Spec.MaxFailedIndexes, j.Status.FailedIndexes = ptr.To[int32](1), ptr.To("4") }),
			podsOf([]podChange{failedPod(1, 0), atIndex(0)}), "FailureTarget MaxFailedIndexesExceeded Job has exceeded the specified maximal number of failed indexes"},
		"enough of the indexes that matter": {jobOf(indexedJob, leader, func(j *batchv1.Job) { j.Status.CompletedIndexes = "3" }),
			podsOf([]podChange{succeededPod, atIndex(0)}), "SuccessCriteriaMet SuccessPolicy Matched rules at index 0"},
		"enough indexes, but not those": {jobOf(indexedJob, leader, func(j *batchv1.Job) { j.Status.CompletedIndexes = "1,3-5" }), nil, ""},
		"what was decided stands, though there is a reason to fail by now": {
			jobOf(condition(batchv1.JobSuccessCriteriaMet, "r"), started(time.Hour)), nil, "SuccessCriteriaMet r m"},
		"a failure that was decided becomes final": {jobOf(condition(batchv1.JobFailureTarget, "r")), nil, "Failed r m"},
	} {
		t.Run(rule, func(t *testing.T) {
			got := ""
			if c := viewJob(test.job, test.pods, jobNoon()).judge(jobNoon()); c != nil {
				got = fmt.Sprint(c.Type, " ", c.Reason, " ", c.Message)
			}
			if got != test.want {
				t.Errorf("%q, not %q", got, test.want)
			}
		})
	}
}

// TestPodsAreCountedOnce ends the process after each step of counting: the numbers are the same in the end.
func TestPodsAreCountedOnce(t *testing.T) {
	pods := podsOf([]podChange{succeededPod}, []podChange{failedPod(1, 0)}, []podChange{runningPod}, []podChange{runningPod, goingPod})
	for step, crashed := range map[string]struct{ noted, released bool }{"nothing done": {}, "noted": {noted: true}, "released": {true, true}} {
		t.Run(step, func(t *testing.T) {
			j := jobOf()
			v := viewJob(j, pods, jobNoon())
			settled, _ := v.note()
			if crashed.noted {
				j.Status = v.job.Status
			}
			now := podsOf([]podChange{succeededPod}, []podChange{failedPod(1, 0)}, []podChange{runningPod}, []podChange{runningPod, goingPod})
			if crashed.released {
				for _, p := range settled {
					now[p.Name[1]-'0'].Finalizers = nil
				}
			}
			v = viewJob(j, now, jobNoon())
			if v.succeeded != 1 || v.failed != 2 {
				t.Errorf("%d and %d before counting", v.succeeded, v.failed)
			}
			tracked := map[types.UID]bool{}
			for _, p := range now {
				tracked[p.UID] = isTracked(p)
			}
			count(&v.job.Status, tracked)
			settled, _ = v.note()
			for _, p := range settled {
				tracked[p.UID] = false
			}
			count(&v.job.Status, tracked)
			if s := v.job.Status; s.Succeeded != 1 || s.Failed != 2 || len(s.UncountedTerminatedPods.Succeeded)+len(s.UncountedTerminatedPods.Failed) > 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestLastFailureOfAnIndexIsKept(t *testing.T) {
	pods := podsOf([]podChange{failedPod(1, time.Minute), atIndex(0)}, []podChange{failedPod(1, 0), atIndex(0), failedBefore(1)})
	v := viewJob(jobOf(perIndex(5)), pods, jobNoon())
	if settled, _ := v.note(); len(settled) != 1 || settled[0].Name != "p0" {
		t.Errorf("%v may go", settled)
	}
	if got := v.newPod(0).Annotations[batchv1.JobIndexFailureCountAnnotation]; got != "2" {
		t.Errorf("the next pod knows of %s failures", got)
	}
}

func TestIndexes(t *testing.T) {
	for text, want := range map[string]string{"": "", "0": "0", "1,2": "1,2", "1,2,3": "1-3", "0-3,5,9-20": "0-3,5,9", "x,1,2-y,4": "1,4", "20-30": ""} {
		if got := parseIndexes(text, 10).String(); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
	s := parseIndexes("1,3-5,8", 10)
	if d := cmp.Diff([]int{0, 2, 6, 7}, s.missing(4, 10)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int{0, 2, 6, 7, 9}, s.missing(9, 10)); d != "" {
		t.Error(d)
	}
	if s.has(2) || !s.has(4) || s.has(9) || s.count() != 5 || s.common(parseIndexes("0-4", 10)) != 3 {
		t.Error(s)
	}
}
