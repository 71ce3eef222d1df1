package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// pantry holds objects by "resource/namespace/name", and writes quotas as the store does. What is read may be behind.
type pantry struct {
	mu     sync.Mutex
	things map[string]registry.Object
	behind map[string]registry.Object // what reads see; nil: the things themselves
	writes atomic.Int32
}

func newPantry(objects ...registry.Object) *pantry {
	s := &pantry{things: map[string]registry.Object{}}
	for _, o := range objects {
		s.put(o)
	}
	return s
}

func (s *pantry) put(o registry.Object) {
	plural := map[string]string{"*v1.ResourceQuota": "resourcequotas", "*v1.Namespace": "namespaces", "*v1.LimitRange": "limitranges",
		"*v1.Pod": "pods", "*v1.DeviceClass": "deviceclasses", "*v1.ResourceClaim": "resourceclaims"}[fmt.Sprintf("%T", o)]
	s.things[plural+"/"+o.GetNamespace()+"/"+o.GetName()] = o
}

// lag lets reads see the present state until the next call.
func (s *pantry) lag() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = maps.Clone(s.things)
}

func (s *pantry) seen() map[string]registry.Object {
	if s.behind != nil {
		return s.behind
	}
	return s.things
}

func (s *pantry) Get(_ context.Context, group, plural, namespace, name string) (registry.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.seen()[plural+"/"+namespace+"/"+name]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: plural}, name)
}

func (s *pantry) Labels(ctx context.Context, group, plural, namespace, name string) (labels.Labels, error) {
	o, err := s.Get(ctx, group, plural, namespace, name)
	if err != nil {
		return nil, err
	}
	return labels.Set(o.GetLabels()), nil
}

func (s *pantry) List(_ context.Context, _, plural, namespace string) (list []registry.Object, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, o := range s.seen() {
		if strings.HasPrefix(key, plural+"/"+namespace+"/") || namespace == "" && strings.HasPrefix(key, plural+"/") {
			list = append(list, o)
		}
	}
	return list, nil
}

func (s *pantry) Follow(context.Context, string, string, func(old, now registry.Object)) error {
	return nil
}

// changeQuota compares and swaps; now and then another writer seems to come in between.
func (s *pantry) changeQuota(_ context.Context, namespace, name string, change func(*corev1.ResourceQuota) error) error {
	for {
		s.mu.Lock()
		old, ok := s.things["resourcequotas/"+namespace+"/"+name].(*corev1.ResourceQuota)
		s.mu.Unlock()
		if !ok {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "resourcequotas"}, name)
		}
		next := old.DeepCopy()
		if err := change(next); err != nil {
			return err
		}
		s.mu.Lock()
		won := s.things["resourcequotas/"+namespace+"/"+name] == registry.Object(old) && rand.IntN(4) > 0
		if won {
			s.things["resourcequotas/"+namespace+"/"+name] = next
			s.writes.Add(1)
		}
		s.mu.Unlock()
		if won {
			return nil
		}
	}
}

// host is a server over the pantry.
func (s *pantry) host() Host { return Host{Objects: s, ChangeQuota: s.changeQuota, Now: time.Now} }

func amounts(text string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for pair := range strings.FieldsSeq(text) {
		name, amount, _ := strings.Cut(pair, "=")
		list[corev1.ResourceName(name)] = resource.MustParse(amount)
	}
	return list
}

// quotaOf is a quota with a status that the controller has filled in.
func quotaOf(name, hard, used string, scopes ...corev1.ScopedResourceSelectorRequirement) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}
	q.Spec.Hard, q.Status.Hard, q.Status.Used = amounts(hard), amounts(hard), amounts(used)
	if scopes != nil {
		q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: scopes}
	}
	return q
}

func podWith(requests, limits string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: amounts(requests), Limits: amounts(limits)}}}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// writeOf is a write of an object, a create unless there is an old one.
func writeOf(resource, sub string, obj, old registry.Object) *Attributes {
	plural, group, _ := strings.Cut(resource, ".")
	a := &Attributes{Operation: Create, Resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural},
		Subresource: sub, Namespace: "a", Name: "x", Object: obj, Warn: func(string) {}}
	if old != nil {
		a.Operation, a.Old = Update, old
	}
	return a
}

func TestQuotaChargesWhatIsUsed(t *testing.T) {
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }
	scope := func(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: name, Operator: op, Values: values}
	}
	service := func(kind corev1.ServiceType, allocate *bool, nodePorts ...int32) *corev1.Service {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, AllocateLoadBalancerNodePorts: allocate}}
		for _, n := range nodePorts {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{NodePort: n})
		}
		return s
	}
	claim := func(class, size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=" + size)}}}
	}
	devices := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2}},
		{FirstAvailable: []resourcev1.DeviceSubRequest{
			{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
			{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 3},
			{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll},
		}}}}}}
	gpus := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}}
	for _, c := range []struct {
		rule  string
		quota *corev1.ResourceQuota
		a     *Attributes
		used  string // afterwards; "" with an error
		err   string
	}{
		{"what a pod requests and is limited to", quotaOf("q", "pods=5 cpu=2 requests.memory=1Gi limits.cpu=4", "pods=1 cpu=1 requests.memory=0 limits.cpu=0"),
			writeOf("pods", "", podWith("cpu=500m memory=1Mi", "cpu=1"), nil), "pods=2 cpu=1500m requests.memory=1Mi limits.cpu=1", ""},
		{"no more than there is room for", quotaOf("q", "pods=1 requests.cpu=1", "pods=1 requests.cpu=800m"), writeOf("pods", "", podWith("cpu=300m", ""), nil), "",
			`pods "x" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=300m, used: pods=1,requests.cpu=800m, limited: pods=1,requests.cpu=1`},
		{"what is bounded has to be said", quotaOf("q", "limits.memory=1 requests.cpu=1 requests.ephemeral-storage=1", "limits.memory=0 requests.cpu=0 requests.ephemeral-storage=0"),
			writeOf("pods", "", podWith("", ""), nil), "", `pods "x" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c`},
		{"a pod may say it for its containers", quotaOf("q", "requests.cpu=1", "requests.cpu=0"), writeOf("pods", "", podWith("", "", func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu=200m")}
		}), nil), "requests.cpu=200m", ""},
		{"overhead counts", quotaOf("q", "cpu=1", "cpu=0"), writeOf("pods", "", podWith("cpu=1m", "", func(p *corev1.Pod) { p.Spec.Overhead = amounts("cpu=9m") }), nil), "cpu=10m", ""},
		{"a quota without a status", quotaOf("q", "pods=1", ""), writeOf("pods", "", podWith("", ""), nil), "", `pods "x" is forbidden: status unknown for quota: q, resources: pods`},
		{"extended resources and huge pages", quotaOf("q", "requests.example.com/gpu=4 hugepages-2Mi=8Mi", "requests.example.com/gpu=1 hugepages-2Mi=0"),
			writeOf("pods", "", podWith("example.com/gpu=2 hugepages-2Mi=4Mi", ""), nil), "requests.example.com/gpu=3 hugepages-2Mi=4Mi", ""},
		{"a resize is charged with the difference", quotaOf("q", "cpu=3", "cpu=1"), writeOf("pods", "resize", podWith("cpu=3", ""), podWith("cpu=1", "")), "cpu=3", ""},
		{"nothing is given back", quotaOf("q", "cpu=3", "cpu=3"), writeOf("pods", "resize", podWith("cpu=1", ""), podWith("cpu=2", "")), "cpu=3", ""},
		{"a pod that comes into a scope is charged in full", quotaOf("q", "pods=3", "pods=0", scope("Terminating", "Exists")), writeOf("pods", "", podWith("", "", deadline), podWith("", "")), "pods=1", ""},
		{"a pod out of scope is not charged", quotaOf("q", "pods=3", "pods=0", scope("Terminating", "Exists")), writeOf("pods", "", podWith("", ""), nil), "pods=0", ""},
		{"BestEffort", quotaOf("q", "pods=3", "pods=0", scope("BestEffort", "Exists")), writeOf("pods", "", podWith("cpu=1", ""), nil), "pods=0", ""},
		{"a priority class among others", quotaOf("q", "pods=3", "pods=0", scope("PriorityClass", "In", "high", "low")), writeOf("pods", "", podWith("", "", func(p *corev1.Pod) { p.Spec.PriorityClassName = "low" }), nil), "pods=1", ""},
		{"no class is none of those", quotaOf("q", "pods=3", "pods=0", scope("PriorityClass", "In", "high")), writeOf("pods", "", podWith("", ""), nil), "pods=0", ""},
		{"no class is not one of those", quotaOf("q", "pods=3", "pods=0", scope("PriorityClass", "NotIn", "high")), writeOf("pods", "", podWith("", ""), nil), "pods=1", ""},
		{"affinity to pods elsewhere", quotaOf("q", "pods=0", "pods=0", scope("CrossNamespacePodAffinity", "Exists")), writeOf("pods", "", podWith("", "", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				PodAffinityTerm: corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}}}}}
		}), nil), "", `pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0`},
		{"any object can be counted", quotaOf("q", "count/ships.harbour.example=1", "count/ships.harbour.example=0"), writeOf("ships.harbour.example", "", &corev1.Pod{}, nil), "count/ships.harbour.example=1", ""},
		{"some go by two names", quotaOf("q", "secrets=2 count/secrets=2", "secrets=0 count/secrets=0"), writeOf("secrets", "", &corev1.Secret{}, nil), "secrets=1 count/secrets=1", ""},
		{"updates do not count", quotaOf("q", "secrets=2", "secrets=2"), writeOf("secrets", "", &corev1.Secret{}, &corev1.Secret{}), "secrets=2", ""},
		{"node ports", quotaOf("q", "services=9 services.nodeports=2 services.loadbalancers=0", "services=0 services.nodeports=1 services.loadbalancers=0"),
			writeOf("services", "", service("NodePort", nil, 0, 0), nil), "", `services "x" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2`},
		{"a load balancer without node ports but those it names", quotaOf("q", "services.nodeports=9 services.loadbalancers=1", "services.nodeports=0 services.loadbalancers=0"),
			writeOf("services", "", service("LoadBalancer", ptr.To(false), 0, 30000), nil), "services.nodeports=1 services.loadbalancers=1", ""},
		{"a service that becomes one", quotaOf("q", "services=1 services.nodeports=9", "services=1 services.nodeports=0"), writeOf("services", "", service("NodePort", nil, 0), service("ClusterIP", nil, 0)), "services=1 services.nodeports=1", ""},
		{"claims and their storage, by class", quotaOf("q", "requests.storage=9Gi gold.storageclass.storage.k8s.io/requests.storage=9Gi gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 tin.storageclass.storage.k8s.io/persistentvolumeclaims=1",
			"requests.storage=0 gold.storageclass.storage.k8s.io/requests.storage=0 gold.storageclass.storage.k8s.io/persistentvolumeclaims=0 tin.storageclass.storage.k8s.io/persistentvolumeclaims=0"), writeOf("persistentvolumeclaims", "", claim("gold", "2Gi"), nil),
			"requests.storage=2Gi gold.storageclass.storage.k8s.io/requests.storage=2Gi gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 tin.storageclass.storage.k8s.io/persistentvolumeclaims=0", ""},
		{"a claim that grows", quotaOf("q", "requests.storage=3Gi persistentvolumeclaims=1", "requests.storage=1Gi persistentvolumeclaims=1"), writeOf("persistentvolumeclaims", "", claim("", "3Gi"), claim("", "1Gi")), "requests.storage=3Gi persistentvolumeclaims=1", ""},
		{"devices by class, the dearest of alternatives", quotaOf("q", "gpu.deviceclass.resource.k8s.io/devices=9 nic.deviceclass.resource.k8s.io/devices=99 requests.example.com/gpu=9 requests.deviceclass.resource.kubernetes.io/gpu=9",
			"gpu.deviceclass.resource.k8s.io/devices=0 nic.deviceclass.resource.k8s.io/devices=0 requests.example.com/gpu=1 requests.deviceclass.resource.kubernetes.io/gpu=0"), writeOf("resourceclaims.resource.k8s.io", "", devices, nil),
			"gpu.deviceclass.resource.k8s.io/devices=5 nic.deviceclass.resource.k8s.io/devices=32 requests.example.com/gpu=6 requests.deviceclass.resource.kubernetes.io/gpu=5", ""},
		{"events are not counted", quotaOf("q", "count/events=0", "count/events=0"), writeOf("events", "", &corev1.Event{}, nil), "count/events=0", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newPantry(c.quota, gpus)
			p, err := resourceQuota(s.host())
			if err != nil {
				t.Fatal(err)
			}
			err = p.Validate(t.Context(), c.a)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("got  %v\nwant %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			after := s.things["resourcequotas/a/q"].(*corev1.ResourceQuota).Status.Used
			if d := cmp.Diff(listText(amounts(c.used)), listText(after)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestADryRunIsJudgedAndNotCharged(t *testing.T) {
	s := newPantry(quotaOf("q", "pods=1", "pods=0"))
	p, _ := resourceQuota(s.host())
	a := writeOf("pods", "", podWith("", ""), nil)
	a.DryRun = true
	if err := p.Validate(t.Context(), a); err != nil || s.writes.Load() != 0 {
		t.Errorf("got %v after %d writes", err, s.writes.Load())
	}
	s.put(quotaOf("q", "pods=1", "pods=1"))
	if err := p.Validate(t.Context(), a); !apierrors.IsForbidden(err) {
		t.Errorf("a full quota: %v", err)
	}
}

// A generated name may be taken: the create is validated again under another one, with the last room already its own.
func TestAnotherTryOfACreateIsNotChargedAgain(t *testing.T) {
	s := newPantry(quotaOf("q", "pods=1", "pods=0"))
	p, _ := resourceQuota(s.host())
	a := writeOf("pods", "", podWith("", ""), nil)
	for try := range 3 {
		if err := p.Validate(t.Context(), a); err != nil || s.writes.Load() != 1 {
			t.Errorf("try %d: %v after %d writes", try, err, s.writes.Load())
		}
	}
	if err := p.Validate(t.Context(), writeOf("pods", "", podWith("", ""), nil)); !apierrors.IsForbidden(err) {
		t.Errorf("another pod: %v", err)
	}
}

func TestWhatIsLimitedNeedsAQuota(t *testing.T) {
	const file = `apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources:
- resource: persistentvolumeclaims
  matchContains: [".storageclass.storage.k8s.io/requests.storage"]
- resource: pods
  matchScopes: [{scopeName: PriorityClass, operator: In, values: [cluster-services]}]
`
	critical := podWith("", "", func(p *corev1.Pod) { p.Spec.PriorityClassName = "cluster-services" })
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("gold"),
		Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=1Gi")}}}
	covers := quotaOf("q", "pods=1", "pods=0", corev1.ScopedResourceSelectorRequirement{ScopeName: "PriorityClass", Operator: "In", Values: []string{"cluster-services"}})
	for _, c := range []struct {
		rule   string
		a      *Attributes
		quotas []registry.Object
		err    string
	}{
		{"storage of a class", writeOf("persistentvolumeclaims", "", claim, nil), nil, `persistentvolumeclaims "x" is forbidden: insufficient quota to consume: gold.storageclass.storage.k8s.io/requests.storage`},
		{"a priority", writeOf("pods", "", critical, nil), nil, "insufficient quota to match these scopes: [{PriorityClass In [cluster-services]}]"},
		{"a priority that a quota is about", writeOf("pods", "", critical, nil), []registry.Object{covers}, ""},
		{"anything else", writeOf("pods", "", podWith("", ""), nil), nil, ""},
	} {
		h := newPantry(c.quotas...).host()
		h.config = &PluginConfig{"q.yaml", []byte(file)}
		p, err := resourceQuota(h)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(t.Context(), c.a); fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
			t.Errorf("%s: got %v, want %s", c.rule, err, c.err)
		}
	}
}

// Sixty-four clients of two servers race for the last ten pods. Each server's cache is behind the other's writes, and
// compare-and-swaps collide.
func TestAQuotaIsNeverExceededByRacers(t *testing.T) {
	for round := range 100 {
		s := newPantry(quotaOf("q", "pods=20", "pods=10"), quotaOf("r", "count/pods=1k", "count/pods=0"))
		s.lag()
		one, _ := resourceQuota(s.host())
		two, _ := resourceQuota(s.host())
		var admitted, refused atomic.Int32
		var racers sync.WaitGroup
		for i := range 64 {
			racers.Go(func() {
				server := one
				if i%2 == 0 {
					server = two
				}
				switch err := server.Validate(t.Context(), writeOf("pods", "", podWith("", ""), nil)); {
				case err == nil:
					admitted.Add(1)
				case strings.Contains(err.Error(), "exceeded quota: q, "):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		racers.Wait()
		used := s.things["resourcequotas/a/q"].(*corev1.ResourceQuota).Status.Used
		if admitted.Load() != 10 || refused.Load() != 54 || listText(used) != "pods=20" {
			t.Fatalf("round %d: %d admitted, %d refused, %s", round, admitted.Load(), refused.Load(), listText(used))
		}
	}
}

func TestWritersThatComeMeanwhileAreChargedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPantry(quotaOf("q", "pods=100", "pods=0"))
		h := s.host()
		h.ChangeQuota = func(ctx context.Context, namespace, name string, change func(*corev1.ResourceQuota) error) error {
			time.Sleep(time.Second)
			return s.changeQuota(ctx, namespace, name, change)
		}
		p, _ := resourceQuota(h)
		var writers sync.WaitGroup
		for range 50 {
			writers.Go(func() {
				if err := p.Validate(t.Context(), writeOf("pods", "", podWith("", ""), nil)); err != nil {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		if n := s.writes.Load(); n > 2 {
			t.Errorf("%d writes for 50 pods", n)
		}
	})
}

func TestAWriterInAHurryDoesNotHarmOthers(t *testing.T) {
	s := newPantry(quotaOf("q", "pods=100", "pods=0"))
	p, _ := resourceQuota(s.host())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Validate(gone, writeOf("pods", "", podWith("", ""), nil)); err != nil {
		t.Errorf("a client that has left: %v", err)
	}
	h := s.host()
	h.ChangeQuota = func(context.Context, string, string, func(*corev1.ResourceQuota) error) error {
		return context.DeadlineExceeded
	}
	p, _ = resourceQuota(h)
	err := p.Validate(t.Context(), writeOf("pods", "", podWith("", ""), nil))
	if want := apierrors.NewInternalError(errors.New("resource quota evaluation timed out")); err == nil || err.Error() != want.Error() {
		t.Errorf("a store that does not answer: got %v", err)
	}
}
