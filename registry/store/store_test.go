package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/embedded"
)

// startEtcd runs an etcd over a directory until the test ends.
func startEtcd(t testing.TB, dir string) *embedded.Etcd {
	t.Helper()
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "etcd")
	}
	e, err := embedded.Start(embedded.Config{Dir: dir, NoSync: true, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func quietLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

// openDB opens a DB over an etcd until the test ends. change may set options.
func openDB(t testing.TB, e *embedded.Etcd, change func(*store.Options)) *store.DB {
	t.Helper()
	o := store.Options{Client: e.Client(), Root: "/registry", Revision: e.Revision, Log: quietLog(), CompactEvery: -1}
	if change != nil {
		change(&o)
	}
	db, err := store.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openConfigMaps(t testing.TB) *store.Store {
	return openDB(t, startEtcd(t, ""), nil).Open(configMaps())
}

func configMaps() store.Config {
	return store.Config{
		Resource: schema.GroupResource{Resource: "configmaps"}, Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Prefix: "configmaps", Namespaced: true, New: func() store.Object { return new(corev1.ConfigMap) },
	}
}

func pods() store.Config {
	return store.Config{
		Resource: schema.GroupResource{Resource: "pods"}, Kind: corev1.SchemeGroupVersion.WithKind("Pod"),
		Prefix: "pods", Namespaced: true, New: func() store.Object { return new(corev1.Pod) },
		Fields: []store.Field{
			{Path: "spec.nodeName", Value: func(o store.Object) string { return o.(*corev1.Pod).Spec.NodeName }, Indexed: true},
			{Path: "status.phase", Value: func(o store.Object) string { return string(o.(*corev1.Pod).Status.Phase) }},
		},
	}
}

func configMap(k store.Key, data string, labels ...string) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}, Data: map[string]string{"data": data}}
	for i := 0; i+1 < len(labels); i += 2 {
		metav1.SetMetaDataLabel(&c.ObjectMeta, labels[i], labels[i+1])
	}
	return c
}

func key(i int) store.Key { return store.Key{Namespace: "default", Name: fmt.Sprintf("c%05d", i)} }

// put creates or replaces an object and returns its entry.
func put(t testing.TB, s *store.Store, k store.Key, o store.Object) *store.Entry {
	t.Helper()
	e, err := s.Update(t.Context(), k, func(*store.Entry) (store.Outcome, error) { return store.Outcome{Put: o}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func remove(t testing.TB, s *store.Store, k store.Key) *store.Entry {
	t.Helper()
	e, err := s.Update(t.Context(), k, func(*store.Entry) (store.Outcome, error) { return store.Outcome{Delete: true}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// within bounds a wait that should be short.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
