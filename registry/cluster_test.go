package registry

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/embedded"
)

// startEtcd runs an etcd until the test ends.
func startEtcd(t *testing.T) *embedded.Etcd {
	t.Helper()
	etcd, err := embedded.Start(embedded.Config{Dir: filepath.Join(t.TempDir(), "etcd"), NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	return etcd
}

// startCluster is a registry with a network of the given ranges, ready for requests.
func startCluster(t *testing.T, ranges ...string) *Registry {
	t.Helper()
	return joinCluster(t, startEtcd(t), "192.0.2.1", ranges...)
}

// joinCluster is one more API server over the same etcd.
func joinCluster(t *testing.T, etcd *embedded.Etcd, advertise string, ranges ...string) *Registry {
	t.Helper()
	db, err := store.New(t.Context(), store.Options{Client: etcd.Client(), Root: "/registry", Revision: etcd.Revision,
		Log: slog.New(slog.DiscardHandler), CompactEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r := New(db, Builtin())
	r.Network.ServiceRanges = nil
	for _, text := range ranges {
		r.Network.ServiceRanges = append(r.Network.ServiceRanges, netip.MustParsePrefix(text))
	}
	r.Network.NodePorts = utilnet.PortRange{Base: 30000, Size: 40}
	r.Network.AdvertiseAddress = net.ParseIP(advertise)
	if err := r.PrepareNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// newService is a Service of the namespace default with one port; change may be nil.
func newService(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

func mustCreate[P Object](t *testing.T, r *Registry, group, plural string, obj P) P {
	t.Helper()
	out, err := r.Create(t.Context(), r.Resource(group, plural), obj)
	if err != nil {
		t.Fatalf("create %s: %v", obj.GetName(), err)
	}
	return out.(P)
}

// names are those of all objects of a resource.
func names(t *testing.T, r *Registry, group, plural string) []string {
	t.Helper()
	var all []string
	if err := r.each(t.Context(), group, plural, "", func(o Object) { all = append(all, o.GetName()) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// heldPorts are the node ports that the bitmap has.
func heldPorts(t *testing.T, r *Registry) []int {
	t.Helper()
	entry, err := r.ports().Get(t.Context(), portsKey(), "")
	if err != nil {
		return nil
	}
	ports, err := storedPorts(entry)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

func nth(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }
