package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	eventrecord "k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/controllers"
	"github.com/knarr-dev/knarr/test/cluster"
	"github.com/knarr-dev/knarr/test/parts"
)

// runControllers runs controllers over a transport that the test has its hands in, and returns what they count.
func runControllers(t *testing.T, c *cluster.Cluster, wrap func(http.RoundTripper) http.RoundTripper, names ...string) *prometheus.Registry {
	t.Helper()
	counts := prometheus.NewRegistry()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst, config.WrapTransport = -1, -1, wrap
	client := clientOf(t, config)
	plain := rest.CopyConfig(config)
	plain.WrapTransport = nil
	meta, err := metadata.NewForConfig(plain)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	factory := informers.NewSharedInformerFactory(client, 0)
	go func() {
		ended <- controllers.Run(ctx, &controllers.Config{
			ClientFor: func(string) kubernetes.Interface { return client }, MetadataFor: func(string) metadata.Interface { return meta }, Metadata: meta, Discovery: client.Discovery(), Informers: factory,
			EventsFrom: func(string) eventrecord.EventRecorder { return &eventrecord.FakeRecorder{} }, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler), Controllers: names, Metrics: counts,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return counts
}

// roundTrips is a transport made of a function.
type roundTrips func(*http.Request) (*http.Response, error)

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lateWatches delivers what watches send with a delay.
func lateWatches(delay time.Duration) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrips(func(r *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(r)
			if err == nil && r.URL.Query().Get("watch") == "true" {
				late := parts.Late(answer.Body, func(at time.Time) bool {
					<-time.After(time.Until(at.Add(delay)))
					return true
				}, func() {})
				answer.Body = lateBody{late, answer.Body}
			}
			return answer, err
		})
	}
}

type lateBody struct {
	io.Reader
	io.Closer
}

// lostAnswers lets writes happen and then says, now and then, that the connection broke.
func lostAnswers(share float64) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrips(func(r *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(r)
			if err == nil && r.Method != http.MethodGet && rand.Float64() < share {
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				return nil, errors.New("the answer was lost")
			}
			return answer, err
		})
	}
}

// TestNoPodTooMany scales a ReplicaSet under transports that make the caches lie. Every reader who looks, at any moment, has
// to find no more pods than are wanted.
func TestNoPodTooMany(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"watches are late": lateWatches(1500 * time.Millisecond), "answers are lost": lostAnswers(0.3),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, "apiserver")
			client := clientset(t, c, formats()["json"])
			ctx := t.Context()
			if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			runControllers(t, c, wrap, "replicaset-controller")
			labels := map[string]string{"app": "web"}
			set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](10), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}}}
			sets := client.AppsV1().ReplicaSets("default")
			if _, err := sets.Create(ctx, set, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			most := int32(10)
			for _, wanted := range []int32{10, 25, 5, 12} {
				most = max(most, wanted)
				if wanted != 10 {
					patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, wanted)
					if _, err := sets.Patch(ctx, "web", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				awaitPods(t, client, wanted, most)
				most = wanted
			}
		})
	}
}

// awaitPods looks at the pods until there are as many as wanted and the ReplicaSet says so; never may there be more than most.
func awaitPods(t *testing.T, client kubernetes.Interface, wanted, most int32) {
	t.Helper()
	var n int32
	var status appsv1.ReplicaSetStatus
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		set, err := client.AppsV1().ReplicaSets("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		n, status = int32(len(pods.Items)), set.Status
		if n > most {
			return false, fmt.Errorf("%d pods where at most %d are wanted", n, most)
		}
		return n == wanted && status.Replicas == wanted && status.ObservedGeneration == set.Generation, nil
	})
	if err != nil {
		t.Fatalf("%v: %d pods of %d, status %+v", err, n, wanted, status)
	}
}

// TestRolloutKeepsItsLimits replaces the pods of a Deployment under the same transports. At no moment may there be more pods
// than size and surge, nor fewer that are ready than may be missed.
func TestRolloutKeepsItsLimits(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"watches are late": lateWatches(300 * time.Millisecond), "answers are lost": lostAnswers(0.2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.Start(t, "apiserver")
			client := clientset(t, c, formats()["json"])
			if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			runControllers(t, c, wrap, "deployment-controller", "replicaset-controller")
			labels := map[string]string{"app": "web"}
			surge, unavailable := intstr.FromInt32(2), intstr.FromInt32(1)
			web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](6), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "one"}}}}}}
			if _, err := client.AppsV1().Deployments("default").Create(t.Context(), web, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			awaitRollout(t, client, "one", 0)
			for _, image := range []string{"two", "three", "two"} {
				patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":%q}]}}}}`, image)
				if _, err := client.AppsV1().Deployments("default").Patch(t.Context(), "web", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
				awaitRollout(t, client, image, 5)
			}
		})
	}
}

// awaitRollout makes pods ready, one at a look, until there are six of an image and no others; meanwhile at least so many are ready.
func awaitRollout(t *testing.T, client kubernetes.Interface, image string, least int) {
	t.Helper()
	var seen string
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 100*time.Second, true, func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		ready, wanted := 0, 0
		var waiting *corev1.Pod
		for i := range pods.Items {
			p := &pods.Items[i]
			switch {
			case len(p.Status.Conditions) == 0:
				waiting = p
			default:
				ready++
				if p.Spec.Containers[0].Image == image {
					wanted++
				}
			}
		}
		seen = fmt.Sprintf("%d pods, %d ready, %d of them %s", len(pods.Items), ready, wanted, image)
		if len(pods.Items) > 8 || ready < least {
			return false, errors.New("beyond the limits")
		}
		if waiting != nil {
			waiting.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
			if _, err := client.CoreV1().Pods("default").UpdateStatus(ctx, waiting, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return false, err
			}
		}
		return wanted == 6 && len(pods.Items) == 6, nil
	})
	if err != nil {
		t.Fatalf("%v: %s", err, seen)
	}
}
