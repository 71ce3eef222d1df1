package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/knarr-dev/knarr/test/cluster"
)

// formats are those in which client-go talks.
func formats() map[string]string {
	return map[string]string{"json": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"}
}

// clientset talks to the cluster as its admin, in the given format.
func clientset(t *testing.T, c *cluster.Cluster, media string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	config.ContentType, config.AcceptContentTypes = media, media
	return clientOf(t, config)
}

func clientOf(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestTypedClient goes through every verb with client-go's typed client, in both formats.
func TestTypedClient(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	for name, media := range formats() {
		t.Run(name, func(t *testing.T) {
			client := clientset(t, c, media)
			ctx := t.Context()
			ns := "typed-" + name
			if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			deployments := client.AppsV1().Deployments(ns)
			events, err := deployments.Watch(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer events.Stop()
			made, err := deployments.Create(ctx, deployment("web"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			read, err := deployments.Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(made, read); d != "" {
				t.Errorf("created and read differ: %s", d)
			}
			read.Spec.Replicas = new(int32)
			changed, err := deployments.Update(ctx, read, metav1.UpdateOptions{})
			if err != nil || changed.Generation != 2 {
				t.Errorf("update: %v, generation %d", err, changed.Generation)
			}
			if _, err := deployments.Update(ctx, read, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("update of an old revision: %v", err)
			}
			patched, err := deployments.Patch(ctx, "web", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			if err != nil || patched.Labels["a"] != "b" {
				t.Errorf("patch: %v, labels %v", err, patched.Labels)
			}
			scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			scale.Spec.Replicas = 4
			if _, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
			applied, err := client.CoreV1().ConfigMaps(ns).Apply(ctx, applycorev1.ConfigMap("settings", ns).WithData(map[string]string{"k": "v"}), metav1.ApplyOptions{FieldManager: "test"})
			if err != nil || applied.Data["k"] != "v" {
				t.Errorf("apply: %v, data %v", err, applied.Data)
			}
			list, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
			if err != nil || len(list.Items) != 1 || *list.Items[0].Spec.Replicas != 4 {
				t.Errorf("list: %v, %d items", err, len(list.Items))
			}
			if err := deployments.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := deployments.Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("get after delete: %v", err)
			}
			if d := cmp.Diff([]watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Modified, watch.Deleted}, take(t, events, 5)); d != "" {
				t.Errorf("the watch saw: %s", d)
			}
		})
	}
}

func deployment(name string) *appsv1.Deployment {
	app := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: app},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}
}

// take is the types of a watch's first events.
func take(t *testing.T, w watch.Interface, n int) []watch.EventType {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []watch.EventType
	for len(seen) < n {
		select {
		case e := <-w.ResultChan():
			seen = append(seen, e.Type)
		case <-ctx.Done():
			return seen
		}
	}
	return seen
}

// many calls do for 0 to n-1 from 32 workers.
func many(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// TestInformersOfManyObjects keeps 10,000 objects in informers of both formats while a tenth changes and a tenth goes.
func TestInformersOfManyObjects(t *testing.T) {
	const objects = 10_000
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["protobuf"])
	ctx := t.Context()
	maps := client.CoreV1().ConfigMaps("default")
	many(t, objects, func(i int) error {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%05d", i),
			Labels: map[string]string{"tenth": fmt.Sprint(i % 10)}}}, metav1.CreateOptions{})
		return err
	})
	listers := map[string]cache.SharedIndexInformer{}
	for name, media := range formats() {
		factory := informers.NewSharedInformerFactoryWithOptions(clientset(t, c, media), 0, informers.WithNamespace("default"))
		listers[name] = factory.Core().V1().ConfigMaps().Informer()
		factory.Start(ctx.Done())
	}
	for name, informer := range listers {
		eventually(t, name+": 10,000 objects", func() bool { return len(informer.GetStore().ListKeys()) >= objects && informer.HasSynced() })
	}
	many(t, objects/10, func(i int) error {
		_, err := maps.Patch(ctx, fmt.Sprintf("c-%05d", i*10), types.MergePatchType, []byte(`{"data":{"changed":"yes"}}`), metav1.PatchOptions{})
		return err
	})
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "tenth=1"}); err != nil {
		t.Fatal(err)
	}
	want, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, informer := range listers {
		eventually(t, name+": what a list shows", func() bool { return differences(informer.GetStore(), want.Items) == 0 })
	}
}

// differences counts the objects of which store and list have another revision, or only one has any.
func differences(store cache.Store, items []corev1.ConfigMap) int {
	n := 0
	for i := range items {
		held, ok, _ := store.GetByKey(items[i].Namespace + "/" + items[i].Name)
		if !ok || held.(*corev1.ConfigMap).ResourceVersion != items[i].ResourceVersion {
			n++
		}
	}
	return n + len(store.ListKeys()) - len(items)
}

// TestReflectorThroughCompactionAndRestart counts in one object while the store is compacted and the server is killed
// and started again: an informer sees every number once and in order. Only what was written while it had no server may
// reach it as a sum.
func TestReflectorThroughCompactionAndRestart(t *testing.T) {
	for name, media := range formats() {
		t.Run(name, func(t *testing.T) {
			url, etcd := cluster.StartEtcd(t)
			c := cluster.Start(t, "apiserver", "--etcd-servers="+url, "--etcd-compaction-interval=1s")
			client := clientset(t, c, media)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			maps := client.CoreV1().ConfigMaps("default")
			counter := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counter-" + name, Labels: map[string]string{"format": name}}, Data: map[string]string{"n": "0"}}
			first, err := maps.Create(ctx, counter, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			seen := &sequence{}
			factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("default"),
				informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = labels.Set{"format": name}.String() }))
			if _, err := factory.Core().V1().ConfigMaps().Informer().AddEventHandler(seen); err != nil {
				t.Fatal(err)
			}
			factory.Start(ctx.Done())
			defer factory.Shutdown()
			defer cancel()
			count := func(from, to int) {
				t.Helper()
				for i := from; i <= to; i++ {
					if _, err := maps.Patch(ctx, counter.Name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i), metav1.PatchOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, fmt.Sprintf("the number %d", to), func() bool { return seen.last() == fmt.Sprint(to) })
			}
			eventually(t, "the first number", func() bool { return seen.last() == "0" })
			count(1, 50)
			revision, err := strconv.ParseInt(first.ResourceVersion, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "compaction", func() bool {
				_, err := etcd.Get(ctx, "any", clientv3.WithRev(revision))
				return errors.Is(err, rpctypes.ErrCompacted)
			})
			count(51, 100)
			c.Kill()
			c.Restart()
			count(101, 150) // the informer may come back late, list again, and see the sum of these
			count(151, 200)
			if err := gapless(seen.all(), 100, 150); err != nil {
				t.Error(err)
			}
		})
	}
}

// gapless checks that numbers rise by one from 0, but for what is missing between the numbers from and to.
func gapless(numbers []string, from, to int) error {
	at := -1
	for _, text := range numbers {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if within := at >= from && n <= to; n <= at || n != at+1 && !within {
			return fmt.Errorf("%d follows %d in %v", n, at, numbers)
		}
		at = n
	}
	return nil
}

// sequence notes the numbers that an object has had.
type sequence struct {
	mu      sync.Mutex
	numbers []string
}

func (s *sequence) OnAdd(o any, _ bool) { s.note(o.(*corev1.ConfigMap)) }

// OnUpdate leaves out what a new list repeats: the same revision is no event.
func (s *sequence) OnUpdate(old, o any) {
	if old.(*corev1.ConfigMap).ResourceVersion != o.(*corev1.ConfigMap).ResourceVersion {
		s.note(o.(*corev1.ConfigMap))
	}
}

func (s *sequence) OnDelete(any) { s.note(&corev1.ConfigMap{Data: map[string]string{"n": "deleted"}}) }

func (s *sequence) note(c *corev1.ConfigMap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers = append(s.numbers, c.Data["n"])
}

func (s *sequence) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.numbers...)
}

func (s *sequence) last() string {
	all := s.all()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}
