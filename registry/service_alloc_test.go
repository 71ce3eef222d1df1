package registry

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

// Two servers race for fewer addresses and ports than they want: each is given once, and all are given.
func TestAddressesAndPortsAreGivenOnce(t *testing.T) {
	etcd := startEtcd(t)
	one := joinCluster(t, etcd, "192.0.2.1", "10.0.0.0/27") // 30 addresses, 40 ports
	two := joinCluster(t, etcd, "192.0.2.2", "10.0.0.0/27")
	var mu sync.Mutex
	ips, ports := map[string]bool{}, map[int32]bool{}
	var group sync.WaitGroup
	for i := range 60 {
		r := []*Registry{one, two}[i%2]
		group.Go(func() {
			obj, err := r.Create(t.Context(), r.Resource("", "services"), newService(nth("s", i), func(s *corev1.ServiceSpec) {
				s.Type = corev1.ServiceTypeNodePort
			}))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if !strings.Contains(err.Error(), "range is full") {
					t.Error(err)
				}
				return
			}
			s := obj.(*corev1.Service)
			if ips[s.Spec.ClusterIP] || ports[s.Spec.Ports[0].NodePort] {
				t.Errorf("%s:%d given twice", s.Spec.ClusterIP, s.Spec.Ports[0].NodePort)
			}
			ips[s.Spec.ClusterIP], ports[s.Spec.Ports[0].NodePort] = true, true
		})
	}
	group.Wait()
	if len(ips) != 30 || len(names(t, one, networkingv1.GroupName, "ipaddresses")) != 30 || len(heldPorts(t, one)) != 30 {
		t.Errorf("%d Services, %d addresses, %d ports; want 30 of each", len(ips), len(names(t, one, networkingv1.GroupName, "ipaddresses")), len(heldPorts(t, one)))
	}
}

func TestWhatAFailedWriteTookIsGivenBack(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24", "fd00::/112")
	both := corev1.IPFamilyPolicyRequireDualStack
	for name, spoil := range map[string]func(*corev1.ServiceSpec){
		"validation refuses": func(s *corev1.ServiceSpec) { s.SessionAffinity = "bad" },
		"the second port is out of range": func(s *corev1.ServiceSpec) {
			s.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81, NodePort: 29000}}
		},
		"the second address is out of range": func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs = "10.0.0.9", []string{"10.0.0.9", "fd01::1"}
		},
	} {
		s := newService("s", func(s *corev1.ServiceSpec) {
			s.Type, s.IPFamilyPolicy = corev1.ServiceTypeNodePort, &both
			spoil(s)
		})
		if _, err := r.Create(t.Context(), r.Resource("", "services"), s); err == nil {
			t.Errorf("%s: created", name)
		}
		if held := names(t, r, networkingv1.GroupName, "ipaddresses"); len(held) > 0 {
			t.Errorf("%s: still held: %v", name, held)
		}
		if held := heldPorts(t, r); len(held) > 0 {
			t.Errorf("%s: still held: %v", name, held)
		}
	}
}

func TestChangesOfTypeReleaseWhatIsNotNeeded(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24", "fd00::/112")
	both, single := corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	mustCreate(t, r, "", "services", newService("s", func(s *corev1.ServiceSpec) {
		s.Type, s.IPFamilyPolicy, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, &both, corev1.ServiceExternalTrafficPolicyLocal
	}))
	key := store.Key{Namespace: metav1.NamespaceDefault, Name: "s"}
	for _, step := range []struct {
		rule             string
		change           func(*corev1.ServiceSpec)
		addresses, ports int
	}{
		{"dual stack, a port and a health check", func(*corev1.ServiceSpec) {}, 2, 2},
		{"no health check without local traffic", func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster }, 2, 1},
		{"single stack gives up the second address", func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = &single }, 1, 1},
		{"a cluster IP alone", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeClusterIP }, 1, 0},
		{"a name has no address", func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "example.com" }, 0, 0},
		{"and gets one again", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }, 1, 1},
	} {
		_, err := r.Update(t.Context(), r.Resource("", "services"), "", key, func(o Object) error {
			step.change(&o.(*corev1.Service).Spec)
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", step.rule, err)
		}
		addresses, ports := names(t, r, networkingv1.GroupName, "ipaddresses"), heldPorts(t, r)
		if len(addresses) != step.addresses || len(ports) != step.ports {
			t.Errorf("%s: held %v and %v", step.rule, addresses, ports)
		}
	}
	if err := r.Delete(t.Context(), r.Resource("", "services"), key, nil); err != nil {
		t.Fatal(err)
	}
	if addresses, ports := names(t, r, networkingv1.GroupName, "ipaddresses"), heldPorts(t, r); len(addresses)+len(ports) > 0 {
		t.Errorf("deleted, and holds %v and %v", addresses, ports)
	}
}

func TestADryRunTakesNothing(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	row := r.Resource("", "services")
	w := r.ownWrite(row, "create", "", metav1.NamespaceDefault)
	w.DryRun = true
	s := newService("s", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	row.Complete(s)
	finish, err := w.Begin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	finish(false)
	if s.Spec.ClusterIP != "10.0.0.0" || s.Spec.Ports[0].NodePort != 32769 {
		t.Errorf("a dry run shows %s and %d; want upstream's 10.0.0.0 and 32769", s.Spec.ClusterIP, s.Spec.Ports[0].NodePort)
	}
	if addresses, ports := names(t, r, networkingv1.GroupName, "ipaddresses"), heldPorts(t, r); len(addresses)+len(ports) > 0 {
		t.Errorf("held: %v and %v", addresses, ports)
	}
}

// The lower band is for those who ask for an address, until the upper is used up.
func TestTheLowerBandIsUsedLast(t *testing.T) {
	r := startCluster(t, "10.0.0.0/26") // 62 addresses, of them 16 below
	low := func(ip string) bool { return !netip.MustParseAddr("10.0.0.16").Less(netip.MustParseAddr(ip)) }
	for i := range 62 {
		s := mustCreate(t, r, "", "services", newService(nth("s", i), nil))
		if low(s.Spec.ClusterIP) != (i >= 46) {
			t.Fatalf("the %dth address is %s", i+1, s.Spec.ClusterIP)
		}
	}
}

// A range that is full is followed by the next, which has to be ready and must not be about to go.
func TestFurtherRanges(t *testing.T) {
	r := startCluster(t, "10.0.0.0/29") // 6 addresses
	for i := range 6 {
		mustCreate(t, r, "", "services", newService(nth("s", i), nil))
	}
	wantFull := func(rule string) {
		t.Helper()
		if _, err := r.Create(t.Context(), r.Resource("", "services"), newService("more", nil)); err == nil || !strings.Contains(err.Error(), "range is full") {
			t.Errorf("%s: %v", rule, err)
		}
	}
	wantFull("no other range")
	mustCreate(t, r, networkingv1.GroupName, "servicecidrs", &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "second", Finalizers: []string{"example.com/hold"}}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.9.0.0/24"}},
	})
	setReady := func(status metav1.ConditionStatus) {
		t.Helper()
		_, err := r.Update(t.Context(), r.Resource(networkingv1.GroupName, "servicecidrs"), "status", store.Key{Name: "second"}, func(o Object) error {
			o.(*networkingv1.ServiceCIDR).Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: "Test", LastTransitionTime: metav1.Now()}}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		catchUp(t, r)
	}
	setReady(metav1.ConditionFalse)
	wantFull("the other range is not ready")
	setReady(metav1.ConditionTrue)
	if s := mustCreate(t, r, "", "services", newService("more", nil)); !strings.HasPrefix(s.Spec.ClusterIP, "10.9.0.") {
		t.Errorf("the next range gives %s", s.Spec.ClusterIP)
	}
	if err := r.Delete(t.Context(), r.Resource(networkingv1.GroupName, "servicecidrs"), store.Key{Name: "second"}, nil); err != nil {
		t.Fatal(err)
	}
	catchUp(t, r)
	_ = r.Delete(t.Context(), r.Resource("", "services"), store.Key{Namespace: metav1.NamespaceDefault, Name: "more"}, nil)
	wantFull("the other range is about to go")
}

// catchUp waits until the cache has the ServiceCIDRs as they are now.
func catchUp(t *testing.T, r *Registry) {
	t.Helper()
	if _, err := r.serviceCIDRs(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

func TestTheManifestThatMadeAServiceCanBePutAgain(t *testing.T) {
	old := newService("s", func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs = corev1.ServiceTypeNodePort, "10.0.0.9", []string{"10.0.0.9"}
		s.Ports = []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30001}, {Name: "b", Port: 81, NodePort: 30002}}
	})
	again := newService("s", func(s *corev1.ServiceSpec) {
		s.Type = corev1.ServiceTypeNodePort
		s.Ports = []corev1.ServicePort{{Name: "b", Port: 81, NodePort: 30001}, {Name: "a", Port: 80}, {Name: "c", Port: 82}}
	})
	keepAllocated(again, old)
	want := newService("s", func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs = corev1.ServiceTypeNodePort, "10.0.0.9", []string{"10.0.0.9"}
		// b asked for a's node port: a is to get another.
		s.Ports = []corev1.ServicePort{{Name: "b", Port: 81, NodePort: 30001}, {Name: "a", Port: 80}, {Name: "c", Port: 82}}
	})
	if d := cmp.Diff(want, again); d != "" {
		t.Error(d)
	}
}

func TestRepair(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	ctx := t.Context()
	addresses := r.Resource(networkingv1.GroupName, "ipaddresses")
	s := mustCreate(t, r, "", "services", newService("s", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	repair := serviceRepair{r: r, leaks: map[int]int{}}
	run := func(passes int) {
		t.Helper()
		for range passes {
			if err := repair.addresses(ctx); err != nil {
				t.Fatal(err)
			}
			if err := repair.ports(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}

	// What a Service has and nobody holds for it is taken.
	if err := r.Delete(ctx, addresses, store.Key{Name: s.Spec.ClusterIP}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.releasePorts(ctx, nodePortsOf(s)); err != nil {
		t.Fatal(err)
	}
	run(1)
	if got := names(t, r, networkingv1.GroupName, "ipaddresses"); !slices.Equal(got, []string{s.Spec.ClusterIP}) {
		t.Errorf("addresses: %v", got)
	}
	if got := heldPorts(t, r); !slices.Equal(got, nodePortsOf(s)) {
		t.Errorf("ports: %v", got)
	}

	// What nobody has is released: a port after some passes, an address when it is old enough.
	leak := 30000
	if leak == nodePortsOf(s)[0] {
		leak++
	}
	if err := r.changePorts(ctx, func(set *nodePortSet) error { return set.take(leak) }); err != nil {
		t.Fatal(err)
	}
	young := mustCreate(t, r, networkingv1.GroupName, "ipaddresses", leakedAddress("10.0.0.200"))
	run(leakPasses - 1)
	if got := heldPorts(t, r); len(got) != 2 {
		t.Errorf("after %d passes: %v", leakPasses-1, got)
	}
	run(1)
	if got := heldPorts(t, r); !slices.Equal(got, nodePortsOf(s)) {
		t.Errorf("after %d passes: %v", leakPasses, got)
	}
	if got := names(t, r, networkingv1.GroupName, "ipaddresses"); len(got) != 2 {
		t.Errorf("a young address may belong to a Service that is being written: %v", got)
	}
	age(t, r, young.Name)
	run(1)
	if got := names(t, r, networkingv1.GroupName, "ipaddresses"); !slices.Equal(got, []string{s.Spec.ClusterIP}) {
		t.Errorf("leaked: %v", got)
	}
}

func leakedAddress(ip string) *networkingv1.IPAddress {
	return addressOf(newService("gone", nil), netip.MustParseAddr(ip))
}

// age has the address be made two minutes ago.
func age(t *testing.T, r *Registry, name string) {
	t.Helper()
	_, err := r.Store(networkingv1.GroupName, "ipaddresses").Update(t.Context(), store.Key{Name: name}, func(e *store.Entry) (store.Outcome, error) {
		obj, err := e.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		obj = obj.DeepCopyObject().(Object)
		obj.SetCreationTimestamp(metav1.NewTime(obj.GetCreationTimestamp().Add(-2 * leakedAfter)))
		return store.Outcome{Put: obj}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An address that somebody deletes while a Service has it is held again; one that was released is not.
func TestDeletedAddressesAreRestored(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	addresses := r.Store(networkingv1.GroupName, "ipaddresses")
	s := mustCreate(t, r, "", "services", newService("s", nil))
	held, err := addresses.Get(t.Context(), store.Key{Name: s.Spec.ClusterIP}, "")
	if err != nil {
		t.Fatal(err)
	}
	repair := serviceRepair{r: r}
	for _, c := range []struct {
		rule   string
		remove func() error
		want   int
	}{
		{"deleted by hand", func() error {
			return r.Delete(t.Context(), r.Resource(networkingv1.GroupName, "ipaddresses"), held.Key, nil)
		}, 1},
		{"released with its Service", func() error {
			return r.Delete(t.Context(), r.Resource("", "services"), objectKey(s), nil)
		}, 0},
	} {
		if err := c.remove(); err != nil {
			t.Fatal(err)
		}
		names(t, r, networkingv1.GroupName, "ipaddresses") // the cache has seen it, as it has when a watch tells
		if err := repair.restore(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		if got := names(t, r, networkingv1.GroupName, "ipaddresses"); len(got) != c.want {
			t.Errorf("%s: %v", c.rule, got)
		}
	}
}

// The endpoints of the kubernetes Service are the servers that are alive.
func TestOwnEndpoints(t *testing.T) {
	etcd := startEtcd(t)
	one := joinCluster(t, etcd, "192.0.2.1", "10.0.0.0/24")
	two := joinCluster(t, etcd, "192.0.2.2", "10.0.0.0/24")
	want := func(ips ...string) {
		t.Helper()
		obj, err := one.read(t.Context(), "", "endpoints", store.Key{Namespace: metav1.NamespaceDefault, Name: "kubernetes"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range obj.(*corev1.Endpoints).Subsets {
			for _, a := range s.Addresses {
				got = append(got, a.IP)
			}
		}
		if !slices.Equal(got, ips) {
			t.Errorf("endpoints: %v, want %v", got, ips)
		}
	}
	first, second := newOwnEndpoints(one), newOwnEndpoints(two)
	for _, o := range []*ownEndpoints{first, second, first} {
		if err := o.keep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want("192.0.2.1", "192.0.2.2")
	first.leave(context.WithoutCancel(t.Context()))
	want("192.0.2.2")
	second.leave(context.WithoutCancel(t.Context()))
	want()
}
