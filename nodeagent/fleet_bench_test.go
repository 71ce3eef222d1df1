package nodeagent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// willing is an API that has one ConfigMap, and takes whatever it is told.
type willing struct{ running atomic.Int64 }

func (w *willing) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}}`
	switch {
	case strings.Contains(r.URL.Path, "/configmaps/"):
		body = `{"kind": "ConfigMap", "apiVersion": "v1", "data": {"ca.crt": "x"}}`
	case r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status"):
		patch, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(patch, []byte(`"phase":"Running"`)) {
			w.running.Add(1)
		}
	}
	return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// fleetPod is a pod as a Deployment's in most clusters: one container, and the volume that every pod has.
func fleetPod(i, nodes int) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i), Namespace: "default", UID: types.UID(fmt.Sprint("uid-", i)), Generation: 1, Labels: map[string]string{"app": "web", "pod-template-hash": "5d8f"}},
		Spec: corev1.PodSpec{NodeName: fmt.Sprint("node-", i%nodes), RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "web", Image: "nginx:1.29", ImagePullPolicy: corev1.PullIfNotPresent,
				Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
				VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}}},
			Volumes: []corev1.Volume{{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}}}}}}}}}
}

func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkFleet has the pods of a fleet started, and tells what each costs: bytes beside the pod's own object, and time.
func BenchmarkFleet(b *testing.B) {
	const nodes = 1000
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprint("node-", i))
	}
	api := &willing{}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: api, QPS: -1})
	if err != nil {
		b.Fatal(err)
	}
	simulated := NewSimulated(clock.RealClock{}, netip.MustParsePrefix("10.128.0.0/9"))
	a := New(Config{Nodes: names, Client: client, Runtime: simulated, Prober: simulated, Hooks: simulated, Logs: simulated, Streams: simulated,
		Events: func(string) record.EventRecorder { return &record.FakeRecorder{} }, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		Addresses: func(string) []corev1.NodeAddress {
			return []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
		},
		Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1000000"), corev1.ResourceCPU: resource.MustParse("1000000")}, LeasePeriod: time.Hour})
	ctx, stop := context.WithCancel(b.Context())
	a.life = ctx
	a.runtimeName = "simulated"
	followed := make(chan error, 1)
	go func() { followed <- a.follow(ctx) }()
	pods := make([]*corev1.Pod, b.N)
	for i := range pods {
		pods[i] = fleetPod(i, nodes)
	}
	before := live()
	b.ResetTimer()
	for _, p := range pods {
		a.told(ctx, p, false)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for api.running.Load() < int64(b.N) {
		<-tick.C
	}
	b.StopTimer()
	for i, p := range pods { // the watch shows what was written
		echo := *p
		pods[i] = &echo
		echo.ResourceVersion = "2"
		a.told(ctx, &echo, false)
	}
	b.ReportMetric(float64(live()-before)/float64(b.N), "B/pod")
	stop()
	if err := <-followed; err != nil {
		b.Error(err)
	}
	a.desk.busy.Wait()
	runtime.KeepAlive(pods)
}
