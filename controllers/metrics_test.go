package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/util/workqueue"
	testclock "k8s.io/utils/clock/testing"
)

func TestQueuesAreMeasured(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	m := newMetrics()
	all := prometheus.NewRegistry()
	all.MustRegister(m.collectors()...)
	q := m.queue("x", clock, workqueue.NewTypedItemExponentialFailureRateLimiter[Key](time.Second, time.Second))
	defer q.ShutDown()
	q.Add(Key{Name: "a"})
	q.Add(Key{Name: "a"}) // is there already
	q.Add(Key{Name: "b"})
	clock.Step(3 * time.Second)
	a, _ := q.Get()
	q.Add(a) // comes back when its turn is over
	clock.Step(2 * time.Second)
	want := `
# HELP workqueue_adds_total Keys that came into the queue.
# TYPE workqueue_adds_total counter
workqueue_adds_total{name="x"} 3
# HELP workqueue_depth Keys in the queue.
# TYPE workqueue_depth gauge
workqueue_depth{name="x"} 1
# HELP workqueue_longest_running_processor_seconds Seconds that the longest turn under way has taken so far.
# TYPE workqueue_longest_running_processor_seconds gauge
workqueue_longest_running_processor_seconds{name="x"} 2
# HELP workqueue_unfinished_work_seconds Sum of the seconds that the turns under way have taken so far.
# TYPE workqueue_unfinished_work_seconds gauge
workqueue_unfinished_work_seconds{name="x"} 2
`
	names := []string{"workqueue_adds_total", "workqueue_depth", "workqueue_longest_running_processor_seconds", "workqueue_unfinished_work_seconds"}
	if err := testutil.GatherAndCompare(all, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	q.Done(a)
	if depth := q.Len(); depth != 2 {
		t.Errorf("%d keys in the queue, want both", depth)
	}
	if lint, err := testutil.GatherAndLint(all); err != nil || len(lint) > 0 {
		t.Error(err, lint)
	}
}

func TestJobsAreMeasured(t *testing.T) {
	all := prometheus.NewRegistry()
	m := newJobMetrics(&Config{Metrics: all})
	pods := podsOf([]podChange{succeededPod}, []podChange{failedPod(137, 0)}, []podChange{failedPod(1, 0)}, []podChange{runningPod})
	for _, p := range pods {
		m.saw(nil, p)
		m.saw(p, p) // something else has changed
	}
	released := pods[0].DeepCopy()
	countedPod(released)
	m.saw(pods[0], released)
	m.saw(released, nil)
	v := viewJob(jobOf(ignoring137), pods, jobNoon())
	v.note()
	m.handled(v.ruled)
	want := `
# HELP job_controller_pod_failures_handled_by_failure_policy_total Failed pods that a rule of their Job's failure policy is about, by what it says.
# TYPE job_controller_pod_failures_handled_by_failure_policy_total counter
job_controller_pod_failures_handled_by_failure_policy_total{action="Ignore"} 1
# HELP job_controller_terminated_pods_tracking_finalizer_total Pods that had ended and had the finalizer of Jobs from then on (add), and that have it no longer (delete).
# TYPE job_controller_terminated_pods_tracking_finalizer_total counter
job_controller_terminated_pods_tracking_finalizer_total{event="add"} 3
job_controller_terminated_pods_tracking_finalizer_total{event="delete"} 1
`
	if err := testutil.GatherAndCompare(all, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if lint, err := testutil.GatherAndLint(all); err != nil || len(lint) > 0 {
		t.Error(err, lint)
	}
}
