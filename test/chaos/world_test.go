package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/test/cluster"
	"github.com/knarr-dev/knarr/test/parts"
)

// namespace is where the workloads are.
const namespace = "default"

// world is a cluster whose parts can be hurt.
type world struct {
	*testing.T
	api         *cluster.Cluster
	server      *rest.Config
	connections http.RoundTripper
	client      *kubernetes.Clientset
	parts       []*part
	log         *slog.Logger
	clock       clock.WithTickerAndDelayedExecution
}

// part is a part of the cluster that runs over a wire of its own.
type part struct {
	name string
	wire *wire
	run  func(ctx context.Context, p *parts.Plant) error

	world *world
	end   context.CancelFunc
	ended chan struct{}
}

// newWorld starts an API server. What parts log shows when the test has failed.
func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	w := &world{T: t, api: cluster.Start(t, "apiserver", flags...), clock: clock.RealClock{}}
	logged := &lines{}
	w.log = slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the parts said last:\n%s", logged)
		}
	})
	config, err := clientcmd.BuildConfigFromFlags("", w.api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	w.server = config
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if w.connections, err = parts.Connections(config); err != nil {
		t.Fatal(err)
	}
	return w
}

// lines keeps the last that was logged.
type lines struct {
	mu   sync.Mutex
	kept []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept = append(l.kept, string(p)); len(l.kept) > 200 {
		l.kept = l.kept[1:]
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, "")
}

// add makes a part; it does not run yet.
func (w *world) add(name string, run func(ctx context.Context, p *parts.Plant) error) *part {
	x := &part{name: name, run: run, world: w, wire: newWire(w.connections, uint64(len(w.parts)))}
	w.parts = append(w.parts, x)
	w.Cleanup(x.kill)
	return x
}

func (w *world) addControllers() *part {
	return w.add("controllers", func(ctx context.Context, p *parts.Plant) error { return p.Controllers(ctx, nil) })
}

func (w *world) addScheduler() *part {
	return w.add("scheduler", func(ctx context.Context, p *parts.Plant) error { return p.Scheduler(ctx) })
}

// addNode adds a node that lasts: containers run on while its agent is away.
func (w *world) addNode(i, cpus int) *part {
	name := fmt.Sprintf("node-%d", i)
	runtime := (&parts.Plant{Clock: w.clock}).Runtime(fmt.Sprintf("10.%d.0.0/16", 64+i))
	capacity := corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(cpus), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return w.add(name, func(ctx context.Context, p *parts.Plant) error {
		return p.Node(ctx, name, runtime, capacity, func() {})
	})
}

// start lets a part run until it is killed; should it end before, it is started again, as in a cluster.
func (p *part) start() {
	if p.end != nil {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	p.end, p.ended = end, make(chan struct{})
	p.wire.suffer(ills{})
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil {
			err := p.run(ctx, &parts.Plant{Server: p.world.server, Through: p.wire, Clock: p.world.clock, Log: p.world.log.With("part", p.name)})
			if ctx.Err() == nil {
				p.world.log.Warn("a part has ended", "part", p.name, "err", err)
				pause(ctx, 200*time.Millisecond)
			}
		}
	}()
}

// kill ends a part without a chance to say anything more.
func (p *part) kill() {
	if p.end == nil {
		return
	}
	p.wire.suffer(ills{cut: true})
	p.end()
	<-p.ended
	p.end = nil
	p.wire.settle()
}

// pause waits, but not beyond ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// insist does something until it succeeds: the API server may be away.
func (w *world) insist(what string, do func(context.Context) error) {
	w.Helper()
	var last error
	err := wait.PollUntilContextTimeout(w.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		ctx, end := context.WithTimeout(ctx, 5*time.Second)
		defer end()
		last = do(ctx)
		return last == nil, nil
	})
	if err != nil {
		w.Fatalf("%s: %v: %v", what, err, last)
	}
}

// client of a resource.
func (w *world) restOf(resource string) rest.Interface {
	switch resource {
	case "jobs", "cronjobs":
		return w.client.BatchV1().RESTClient()
	case "pods", "replicationcontrollers", "services", "namespaces":
		return w.client.CoreV1().RESTClient()
	}
	return w.client.AppsV1().RESTClient()
}

func (w *world) create(x *workload) {
	w.Helper()
	w.insist("create "+x.name, func(ctx context.Context) error {
		return allowed(w.restOf(x.resource).Post().Namespace(namespace).Resource(x.resource).Body(x.make(x.name)).Do(ctx).Error(), apierrors.IsAlreadyExists)
	})
	if x.guarded {
		w.insist("guard "+x.name, func(ctx context.Context) error {
			_, err := w.client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, budget(x.name), metav1.CreateOptions{})
			return allowed(err, apierrors.IsAlreadyExists)
		})
	}
}

func (w *world) patch(x *workload, body string) {
	w.Helper()
	w.insist("change "+x.name, func(ctx context.Context) error {
		err := w.restOf(x.resource).Patch(types.MergePatchType).Namespace(namespace).Resource(x.resource).Name(x.name).Body([]byte(body)).Do(ctx).Error()
		return allowed(err, apierrors.IsNotFound, apierrors.IsInvalid) // a Job that has ended cannot be suspended
	})
}

func (w *world) delete(x *workload, policy metav1.DeletionPropagation) {
	w.Helper()
	w.insist("delete "+x.name, func(ctx context.Context) error {
		err := w.restOf(x.resource).Delete().Namespace(namespace).Resource(x.resource).Name(x.name).
			Body(&metav1.DeleteOptions{PropagationPolicy: &policy}).Do(ctx).Error()
		return allowed(err, apierrors.IsNotFound)
	})
	x.deleted = true
}

// allowed drops errors that are as good as success.
func allowed(err error, kinds ...func(error) bool) error {
	for _, is := range kinds {
		if is(err) {
			return nil
		}
	}
	return err
}

// remake creates workloads anew of which nothing is left, and says which of those that were deleted cannot be yet.
func (w *world) remake(all []*workload) error {
	var errs []error
	for _, x := range all {
		if !x.deleted {
			continue
		}
		ctx, end := context.WithTimeout(w.Context(), 5*time.Second)
		err := w.restOf(x.resource).Post().Namespace(namespace).Resource(x.resource).Body(x.make(x.name)).Do(ctx).Error()
		end()
		x.deleted = err != nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// deletePod deletes one of the pods with a label, by lot.
func (w *world) deletePod(r *rand.Rand, labels string, grace *int64) {
	lot := r.IntN(1000)
	pods, err := w.client.CoreV1().Pods(namespace).List(w.Context(), metav1.ListOptions{LabelSelector: labels})
	if err != nil || len(pods.Items) == 0 {
		return
	}
	p := &pods.Items[lot%len(pods.Items)]
	w.insist("delete pod "+p.Name, func(ctx context.Context) error {
		err := w.client.CoreV1().Pods(namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &p.UID}})
		return allowed(err, apierrors.IsNotFound, apierrors.IsConflict)
	})
}

// evict asks for guarded pods to go, one after the other, until ctx ends. It returns how many went, and how many times the
// budgets said no.
func (w *world) evict(ctx context.Context, r *rand.Rand) (gone, refused int) {
	for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		pods, err := w.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: guardLabel})
		if err != nil || len(pods.Items) == 0 {
			continue
		}
		p := &pods.Items[r.IntN(len(pods.Items))]
		err = w.client.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}})
		switch {
		case err == nil:
			gone++
		case apierrors.IsTooManyRequests(err):
			refused++
		}
	}
	return gone, refused
}

// passing is a namespace that is deleted and made again, with workloads in it.
const passing = "passing"

// pass makes the namespace and what is in it, or deletes it. What cannot be since the namespace is going, is not.
func (w *world) pass(arrive bool) {
	w.Helper()
	if !arrive {
		w.insist("delete the namespace", func(ctx context.Context) error {
			return allowed(w.client.CoreV1().Namespaces().Delete(ctx, passing, metav1.DeleteOptions{}), apierrors.IsNotFound, apierrors.IsConflict)
		})
		return
	}
	w.insist("make the namespace", func(ctx context.Context) error {
		_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: passing}}, metav1.CreateOptions{})
		return allowed(err, apierrors.IsAlreadyExists)
	})
	for _, x := range []*workload{{resource: "deployments", name: "roll-p", make: deployment(nil)}, {resource: "replicasets", name: "set-p", make: replicaSet},
		{resource: "daemonsets", name: "daemon-p", make: daemonSet}, {resource: "jobs", name: "index-p", make: job(batchv1.IndexedCompletion)}} {
		w.insist("create "+x.name, func(ctx context.Context) error {
			err := w.restOf(x.resource).Post().Namespace(passing).Resource(x.resource).Body(x.make(x.name)).Do(ctx).Error()
			return allowed(err, apierrors.IsAlreadyExists, apierrors.IsForbidden, apierrors.IsNotFound)
		})
	}
}
