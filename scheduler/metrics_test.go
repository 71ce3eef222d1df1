package scheduler

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// counted is the metrics as a text.
func (s *stand) counted(t *testing.T) string {
	t.Helper()
	all := prometheus.NewRegistry()
	all.MustRegister(s.Collectors()...)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(all, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetricsTellWhereAndWhyPodsWait(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.wait(podOf("big", requests("cpu=5")))
	s.run()
	s.wait(podOf("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }))
	s.wait(podOf("active"))
	s.wait(podOf("waker", requests("cpu=5")))
	failed := s.queue.pop()
	s.queue.fail(failed)
	s.nodeChanged(nodeOf("n"), nodeOf("n", allocatable("cpu=9", "pods=9")))
	s.clock.Step(time.Minute)
	text := s.counted(t)
	for _, want := range []string{
		`scheduler_pending_pods{queue="active"} 1`,
		`scheduler_pending_pods{queue="backoff"} 2`,
		`scheduler_pending_pods{queue="gated"} 1`,
		`scheduler_pending_pods{queue="unschedulable"} 0`,
		`scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 1`,
		`scheduler_queue_incoming_pods_total{event="NodeUpdateNodeAllocatable",queue="backoff"} 1`,
		`scheduler_queue_incoming_pods_total{event="UnschedulablePodAdd",queue="active"} 3`,
		`scheduler_queue_incoming_pods_total{event="UnschedulablePodAdd",queue="unschedulable"} 1`,
		`scheduler_queue_incoming_pods_total{event="ScheduleAttemptFailure",queue="backoff"} 1`,
		`scheduler_cache_size{type="nodes"} 1`,
		`scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",profile="default-scheduler",status="Success"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	class := &storagev1.StorageClass{}
	for want, e := range map[string]*Event{
		"NodeUpdateNodeLabel":                   {Kind: NodeLabels},
		"storage.k8s.io/StorageClassAdd":        {Kind: ClassChanged, Object: class},
		"storage.k8s.io/StorageClassUpdate":     {Kind: ClassChanged, OldObject: class, Object: class},
		"storage.k8s.io/VolumeAttachmentDelete": {Kind: AttachmentChanged, OldObject: &storagev1.VolumeAttachment{}},
	} {
		if got := e.name(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	gate := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }
	tolerating := func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "k"}} }
	for want, pods := range map[string][2]*corev1.Pod{
		byGates:       {podOf("p", gate), podOf("p")},
		byLabels:      {podOf("p"), podOf("p", labeled("a", "b"), tolerating)},
		byShrinking:   {podOf("p", requests("cpu=2")), podOf("p", requests("cpu=1"))},
		byTolerations: {podOf("p"), podOf("p", tolerating)},
		byUpdate:      {podOf("p"), podOf("p", requests("cpu=1"))},
	} {
		if got := ownChange(newPod(pods[0]), newPod(pods[1])); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	if got := NodeDeleted.String(); got != "NodeDelete" {
		t.Errorf("the last kind is called %q", got)
	}
}

func TestWhatPodsAskForIsToldToWhoAsks(t *testing.T) {
	s := newStand()
	running := podOf("running", requests("cpu=500m", "memory=1Gi", "example.com/gpu=2"), priority(7))
	running.Spec.NodeName, running.Spec.Containers[0].Resources.Limits = "n", list("cpu=2")
	ended := podOf("ended", requests("cpu=1"))
	ended.Spec.NodeName, ended.Status.Phase = "n", corev1.PodSucceeded
	s.storing(t, running, podOf("waiting", requests("hugepages-2Mi=4Mi")), ended)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics/resources", nil))
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.ReplaceAll(strings.TrimSpace(line), `,scheduler="default-scheduler"`, ""))
		}
	}
	want := `kube_pod_resource_limit{namespace="default",node="n",pod="running",priority="7",resource="cpu",unit="cores"} 2
kube_pod_resource_request{namespace="default",node="",pod="waiting",priority="",resource="hugepages-2Mi",unit="bytes"} 4.194304e+06
kube_pod_resource_request{namespace="default",node="n",pod="running",priority="7",resource="cpu",unit="cores"} 0.5
kube_pod_resource_request{namespace="default",node="n",pod="running",priority="7",resource="example.com/gpu",unit=""} 2
kube_pod_resource_request{namespace="default",node="n",pod="running",priority="7",resource="memory",unit="bytes"} 1.073741824e+09`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nnot\n%s", text, want)
	}
}

func TestMetricsTellOfTheWholeWay(t *testing.T) {
	p := podOf("p", requests("cpu=3"))
	s := withDoorman(t, p)
	s.cluster.setNode(nodeOf("full", allocatable("pods=0")))
	s.wait(p)
	s.look()
	until(t, func() bool { return s.hall.holds(p.UID) })
	held := s.counted(t)
	s.Allow(p.UID, "Doorman")
	s.background.Wait()
	const point = `scheduler_framework_extension_point_duration_seconds_count{extension_point="%s",profile="default-scheduler",status="Success"} 1`
	for want, text := range map[string]string{
		`scheduler_goroutines{operation="binding"} 1`: held,
		`scheduler_goroutines{operation="binding"} 0`: s.counted(t),
		`scheduler_plugin_evaluation_total{extension_point="Filter",plugin="NodeResourcesFit",profile="default-scheduler"} 2`: held,
		fmt.Sprintf(point, "Permit"):   held,
		fmt.Sprintf(point, "PreBind"):  s.counted(t),
		fmt.Sprintf(point, "Bind"):     s.counted(t),
		fmt.Sprintf(point, "PostBind"): s.counted(t),
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}
