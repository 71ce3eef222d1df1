package store_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knarr-dev/knarr/registry/store"
)

// pod is about 3 kB of protobuf.
func pod(i int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: fmt.Sprintf("p%06d", i), UID: "7a8f6a3e-8f0d-4c86-9a90-5b1f7d0c2f11",
		Labels:      map[string]string{"app": fmt.Sprint("app-", i%100), "tier": "web", "pod-template-hash": "5d69b8f6c7"},
		Annotations: map[string]string{"text": strings.Repeat("0123456789abcdef", 100)},
	}}
	p.Spec.NodeName = fmt.Sprint("node-", i%50)
	p.Status.Phase = corev1.PodRunning
	for c := range 4 {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: fmt.Sprint("c", c), Image: "registry.example.com/some/image:v1.2.3",
			Env: []corev1.EnvVar{{Name: "A", Value: strings.Repeat("v", 100)}, {Name: "B", Value: strings.Repeat("w", 100)}},
		})
	}
	return p
}

func podKey(i int) store.Key { return store.Key{Namespace: "default", Name: fmt.Sprintf("p%06d", i)} }

func fillPods(b testing.TB, s *store.Store, n int) {
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := w; i < n; i += 16 {
				if _, err := s.Create(b.Context(), podKey(i), pod(i), 0); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkCreate is 32 writers, with the cache following.
func BenchmarkCreate(b *testing.B) {
	s := openDB(b, startEtcd(b, ""), nil).Open(pods())
	list(b, s, store.ListOptions{})
	var n atomic.Int64
	b.SetParallelism(32 / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(n.Add(1))
			if _, err := s.Create(b.Context(), podKey(i), pod(i), 0); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
}

// BenchmarkGet is 32 consistent readers beside a writer.
func BenchmarkGet(b *testing.B) {
	s := openDB(b, startEtcd(b, ""), nil).Open(pods())
	fillPods(b, s, 1000)
	list(b, s, store.ListOptions{})
	stop := writeAlong(b, s)
	defer stop()
	b.SetParallelism(32 / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Get(b.Context(), podKey(i%1000), ""); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
}

// writeAlong changes a pod again and again until it is stopped.
func writeAlong(b testing.TB, s *store.Store) (stop func()) {
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				p := pod(0)
				p.Annotations["n"] = fmt.Sprint(i)
				put(b, s, podKey(0), p)
			}
		}
	})
	return func() { close(done); writer.Wait() }
}

// BenchmarkList concatenates all of 5,000 pods, a hundredth of them by label, and pages of 500.
func BenchmarkList(b *testing.B) {
	s := openDB(b, startEtcd(b, ""), nil).Open(pods())
	fillPods(b, s, 5000)
	for name, o := range map[string]store.ListOptions{
		"all":      {},
		"by-label": {Selection: store.Selection{Labels: labels.SelectorFromSet(labels.Set{"app": "app-7"})}},
		"page":     {Limit: 500},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var out bytes.Buffer
			for b.Loop() {
				out.Reset()
				for _, block := range list(b, s, o).Blocks {
					for _, e := range block.Entries {
						out.Write(e.Proto())
					}
				}
			}
		})
	}
}

// BenchmarkFanOut is 200 watchers of everything, each event encoded once.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 200
	s := openDB(b, startEtcd(b, ""), nil).Open(pods())
	now := list(b, s, store.ListOptions{})
	var all sync.WaitGroup
	for range watchers {
		w := startWatch(b, s, store.WatchOptions{ResourceVersion: now.Revision.String()})
		all.Go(func() {
			var events []store.Event
			var err error
			for seen := 0; seen < b.N; seen += len(events) {
				if events, err = w.Next(b.Context(), events[:0]); err != nil {
					b.Error(err)
					return
				}
				for _, e := range events {
					if _, err := e.Entry.Memo(0, func(e *store.Entry) ([]byte, error) { return e.Proto(), nil }); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	b.ResetTimer()
	fillPods(b, s, b.N)
	all.Wait()
	b.ReportMetric(float64(b.N*watchers)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkMemory tells what an entry costs beyond its bytes, and an idle watcher.
func BenchmarkMemory(b *testing.B) {
	e := startEtcd(b, "")
	writer := openDB(b, e, nil)
	const n = 5000
	fillPods(b, writer.Open(pods()), n)
	writer.Close()
	db := openDB(b, e, nil)
	before := heap()
	s := db.Open(pods())
	bytes := 0
	for _, block := range list(b, s, store.ListOptions{}).Blocks {
		for _, e := range block.Entries {
			bytes += e.Size()
		}
	}
	filled := heap()
	b.ReportMetric(float64(bytes)/n, "bytes/object")
	b.ReportMetric((float64(filled)-float64(before))/n, "heap/object")
	const watchers = 5000
	at := list(b, s, store.ListOptions{}).Revision.String()
	for i := range watchers {
		w, err := s.Watch(b.Context(), store.WatchOptions{Selection: store.Selection{Namespace: "default", Name: fmt.Sprint(i)}, ResourceVersion: at})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
	}
	b.ReportMetric((float64(heap())-float64(filled))/watchers, "heap/watcher")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
