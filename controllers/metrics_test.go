package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
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

func TestSlicesAreMeasured(t *testing.T) {
	all := prometheus.NewRegistry()
	m := newSliceMetrics(&Config{Metrics: all})
	slice := func(port int32, addresses ...int) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Port: &port}}}
		for _, a := range addresses {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprint("10.0.0.", a)}})
		}
		return s
	}
	service := func(name string, distribution *string, annotations map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Spec: corev1.ServiceSpec{TrafficDistribution: distribution}}
	}
	type slices = []*discoveryv1.EndpointSlice
	near := ptr.To(corev1.ServiceTrafficDistributionPreferSameZone)
	m.turned(service("empty", nil, nil), nil, slices{slice(0)})
	m.turned(service("web", near, nil), nil, slices{slice(80, 1, 2, 3)})
	m.turned(service("web", near, nil), slices{slice(80, 1, 2, 3)}, slices{slice(80, 2, 3), slice(80, 4), slice(81, 2)})
	m.turned(service("hinted", near, map[string]string{corev1.AnnotationTopologyMode: "Auto"}), nil, slices{slice(80, 1)})
	m.turned(service("gone", near, nil), nil, slices{slice(80, 1)})
	m.gone(Key{Name: "gone"})
	want := `
# HELP endpoint_slice_controller_desired_endpoint_slices Slices that would do for the endpoints that Services have.
# TYPE endpoint_slice_controller_desired_endpoint_slices gauge
endpoint_slice_controller_desired_endpoint_slices 4
# HELP endpoint_slice_controller_endpoints_desired Endpoints that Services have.
# TYPE endpoint_slice_controller_endpoints_desired gauge
endpoint_slice_controller_endpoints_desired 5
# HELP endpoint_slice_controller_num_endpoint_slices Slices that Services have.
# TYPE endpoint_slice_controller_num_endpoint_slices gauge
endpoint_slice_controller_num_endpoint_slices 5
# HELP endpoint_slice_controller_services_count_by_traffic_distribution Services that want their traffic distributed in a certain way.
# TYPE endpoint_slice_controller_services_count_by_traffic_distribution gauge
endpoint_slice_controller_services_count_by_traffic_distribution{traffic_distribution="PreferSameZone"} 1
`
	names := []string{"endpoint_slice_controller_desired_endpoint_slices", "endpoint_slice_controller_endpoints_desired",
		"endpoint_slice_controller_num_endpoint_slices", "endpoint_slice_controller_services_count_by_traffic_distribution"}
	if err := testutil.GatherAndCompare(all, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	families, err := all.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); h != nil {
			sums[f.GetName()] = h.GetSampleSum()
		}
	}
	// The first turns add none, three, one and one; the second of web adds two, and removes one.
	if d := cmp.Diff(map[string]float64{"endpoint_slice_controller_endpoints_added_per_sync": 7, "endpoint_slice_controller_endpoints_removed_per_sync": 1}, sums); d != "" {
		t.Error(d)
	}
}
