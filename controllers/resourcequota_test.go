package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// listed writes amounts as "name=amount", sorted.
func listed(amounts corev1.ResourceList) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		parts = append(parts, fmt.Sprintf("%s=%s", name, ptr.To(amounts[name])))
	}
	return strings.Join(parts, " ")
}

func podThat(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "hugepages-2Mi": resource.MustParse("4Mi"), "x.io/gpu": resource.MustParse("2")},
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1")}}}}}}
	change(p)
	return p
}

func TestWhatConcernsAQuota(t *testing.T) {
	quota := func(allowed, told, used string) *corev1.ResourceQuota {
		amounts := func(cpu string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(cpu)} }
		return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: amounts(allowed)},
			Status: corev1.ResourceQuotaStatus{Hard: amounts(told), Used: amounts(used)}}
	}
	for name, c := range map[string]struct {
		old, now *corev1.ResourceQuota
		concerns bool
	}{
		"admission lets something in": {quota("2", "2", "0"), quota("2", "2", "1"), false},
		"it allows more":              {quota("2", "2", "0"), quota("3", "2", "0"), true},
		"the controller says so":      {quota("3", "2", "0"), quota("3", "3", "0"), false},
		"somebody says otherwise":     {quota("3", "3", "0"), quota("3", "9", "0"), true},
		"the same in another unit":    {quota("3", "3", "0"), quota("3", "3000m", "0"), false},
	} {
		if got := quotaAllowsOtherwise(c.old, c.now) != nil; got != c.concerns {
			t.Errorf("%s: %t, want %t", name, got, c.concerns)
		}
	}
}

func TestQuotaUsage(t *testing.T) {
	now := time.Unix(10_000, 0)
	services, claims := serviceMeter(), volumeClaimMeter()
	ports := []corev1.ServicePort{{NodePort: 30000}, {}}
	for name, c := range map[string]struct {
		got  corev1.ResourceList
		want string
	}{
		"a pod by all names": {podUse(podThat(func(*corev1.Pod) {}), now),
			"count/pods=1 cpu=100m hugepages-2Mi=4Mi limits.cpu=1 pods=1 requests.cpu=100m requests.hugepages-2Mi=4Mi requests.x.io/gpu=2"},
		"a pod that has ended is an object": {podUse(podThat(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), now), "count/pods=1"},
		"a pod that should have gone, too": {podUse(podThat(func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-time.Minute)}, ptr.To[int64](30)
		}), now), "count/pods=1"},
		"a service without ports of nodes": {services.usage(&corev1.Service{Spec: corev1.ServiceSpec{Ports: ports}}, now),
			"count/services=1 services=1 services.loadbalancers=0 services.nodeports=0"},
		"a balancer has ports of nodes": {services.usage(&corev1.Service{Spec: corev1.ServiceSpec{Type: "LoadBalancer", Ports: ports}}, now),
			"count/services=1 services=1 services.loadbalancers=1 services.nodeports=2"},
		"a balancer that does without has those that are named": {services.usage(&corev1.Service{Spec: corev1.ServiceSpec{Type: "LoadBalancer", Ports: ports, AllocateLoadBalancerNodePorts: ptr.To(false)}}, now),
			"count/services=1 services=1 services.loadbalancers=1 services.nodeports=1"},
		"a claim in all and by class": {claims.usage(&corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("gold"),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1500m")}}}}, now),
			"count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 requests.storage=2"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, listed(c.got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestQuotaCountsWhatItsScopesInclude(t *testing.T) {
	pods := []metav1.Object{
		podThat(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }),
		podThat(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high"; p.Status.QOSClass = corev1.PodQOSBestEffort }),
		podThat(func(p *corev1.Pod) { p.Spec.PriorityClassName = "low" }),
	}
	in := func(operator corev1.ScopeSelectorOperator, classes ...string) corev1.ResourceQuotaSpec {
		return corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: operator, Values: classes}}}}
	}
	for name, c := range map[string]struct {
		spec corev1.ResourceQuotaSpec
		want string
	}{
		"none includes all":             {corev1.ResourceQuotaSpec{}, "pods=3"},
		"pods that end by themselves":   {corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}}, "pods=1"},
		"all scopes have to":            {corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort}}, "pods=1"},
		"a class of some":               {in(corev1.ScopeSelectorOpIn, "high", "other"), "pods=1"},
		"without a class is not in any": {in(corev1.ScopeSelectorOpNotIn, "high"), "pods=2"},
		"any class":                     {in(corev1.ScopeSelectorOpExists), "pods=2"},
		"no class":                      {in(corev1.ScopeSelectorOpDoesNotExist), "pods=1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := podMeter().measure(pods, []corev1.ResourceName{"pods"}, &corev1.ResourceQuota{Spec: c.spec}, time.Unix(0, 0))
			if diff := cmp.Diff(c.want, listed(corev1.ResourceList{"pods": got["pods"]})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDevicesThatARequestMayBeGiven(t *testing.T) {
	exactly := func(class string, n int64) resourcev1.DeviceSubRequest {
		return resourcev1.DeviceSubRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}
	}
	all := resourcev1.DeviceSubRequest{DeviceClassName: "b", AllocationMode: resourcev1.DeviceAllocationModeAll}
	got := devicesAtMost(&resourcev1.DeviceRequest{FirstAvailable: []resourcev1.DeviceSubRequest{exactly("a", 2), exactly("a", 3), all}})
	if diff := cmp.Diff(map[string]int64{"a": 3, "b": resourcev1.AllocationResultsMaxSize}, got); diff != "" {
		t.Error(diff)
	}
}
