package registry

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

func TestIdentityHasUpstreamsName(t *testing.T) {
	if got := identityName("vm"); got != "apiserver-wlv32tlttr4jl3gtroqexyxapa" {
		t.Errorf("the host vm is %s", got)
	}
}

func TestDeadAPIServersLoseTheirLeases(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	now := time.Now()
	lease := func(name, component string, renewed time.Duration) {
		l, err := newIdentity(r.Network)
		if err != nil {
			t.Fatal(err)
		}
		l.Name, l.Labels[identityLabel] = name, component
		l.Spec.RenewTime = new(metav1.NewMicroTime(now.Add(-renewed)))
		if _, err := r.Create(t.Context(), r.leases(), l); err != nil {
			t.Fatal(err)
		}
	}
	lease("alive", identityComponent, time.Minute)
	lease("dead", identityComponent, 2*time.Hour)
	lease("other", "other", 2*time.Hour)
	if err := r.removeDeadIdentities(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"alive": true, "dead": false, "other": true} {
		_, err := r.Store(coordinationv1.GroupName, "leases").Get(t.Context(), store.Key{Namespace: metav1.NamespaceSystem, Name: name}, "")
		if got := err == nil; got != want {
			t.Errorf("lease %s is there: %v", name, got)
		}
	}
}

func TestAPIServerTakesItsLeaseAlong(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	key := store.Key{Namespace: metav1.NamespaceSystem}
	own, err := newIdentity(r.Network)
	if err != nil {
		t.Fatal(err)
	}
	key.Name = own.Name
	w, err := r.Store(coordinationv1.GroupName, "leases").Watch(t.Context(), store.WatchOptions{Selection: store.Selection{Name: key.Name, Namespace: key.Namespace}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.KeepIdentity(ctx); close(ended) }()
	if _, err := w.Next(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	if _, err := r.Store(coordinationv1.GroupName, "leases").Get(t.Context(), key, ""); err == nil {
		t.Error("the lease of an API server that has ended is still there")
	}
}
