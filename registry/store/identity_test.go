package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// checkIdentity compares an entry's identity with that of the object.
func checkIdentity(t *testing.T, e *store.Entry) {
	t.Helper()
	o, err := e.Object()
	if err != nil {
		t.Fatal(err)
	}
	want := store.Identity{UID: o.GetUID()}
	if at := o.GetDeletionTimestamp(); at != nil {
		want.Deleted = at.Time
	}
	got, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", e.Key, d)
	}
}

func TestIdentityIsReadOffTheEncoding(t *testing.T) {
	r := registry.New(openDB(t, startEtcd(t, ""), nil), registry.Builtin())
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	for name, meta := range map[string]metav1.ObjectMeta{
		"plain":   {UID: "u-1"},
		"deleted": {UID: "u-2", DeletionTimestamp: &at, Labels: map[string]string{"a": "b"}, Finalizers: []string{"x/y"}},
		"bare":    {},
	} {
		t.Run(name, func(t *testing.T) {
			meta.Namespace, meta.Name = "ns", name
			pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
			e, err := r.Store("", "pods").Create(t.Context(), store.Key{Namespace: "ns", Name: name}, pod, 0)
			if err != nil {
				t.Fatal(err)
			}
			checkIdentity(t, e)
		})
	}
}
