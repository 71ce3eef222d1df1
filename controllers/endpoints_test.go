package controllers

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// podAt is a pod with an address and a port named web.
func podAt(ip string, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: ip, UID: types.UID(ip)},
		Spec: corev1.PodSpec{Hostname: "h", Subdomain: "s", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: "TCP"}}}}}}
	p.Status = corev1.PodStatus{PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

// toldSubsets are subsets as text: ready addresses | others : ports.
func toldSubsets(subsets []corev1.EndpointSubset) (lines []string) {
	ips := func(of []corev1.EndpointAddress) (all []string) {
		for _, a := range of {
			all = append(all, a.IP)
		}
		return all
	}
	for _, s := range subsets {
		ports := ""
		for _, p := range s.Ports {
			ports += fmt.Sprintf(" %s=%d", p.Name, p.Port)
		}
		lines = append(lines, fmt.Sprintf("%v|%v:%s", ips(s.Addresses), ips(s.NotReadyAddresses), ports))
	}
	return lines
}

func TestSubsetsOfPods(t *testing.T) {
	going := podAt("10.0.0.9", true)
	going.DeletionTimestamp = &metav1.Time{Time: noon()}
	done := podAt("10.0.0.8", true)
	done.Status.Phase = corev1.PodSucceeded
	bare := podAt("10.0.0.3", true)
	bare.Spec.Containers = nil
	pods := []*corev1.Pod{podAt("10.0.0.2", true), podAt("10.0.0.1", false), going, done, bare, podAt("fd00::1", true)}
	four := []corev1.IPFamily{corev1.IPv4Protocol}
	ports := []corev1.ServicePort{{Name: "a", TargetPort: intstr.FromInt32(80), Protocol: "TCP"}, {Name: "b", TargetPort: intstr.FromString("web"), Protocol: "TCP"}}
	for name, c := range map[string]struct {
		spec corev1.ServiceSpec
		want []string
	}{
		"ports with the same addresses are together, a port that a pod lacks is left out": {
			corev1.ServiceSpec{IPFamilies: four, ClusterIP: "10.96.0.1", Ports: ports},
			[]string{"[10.0.0.2 10.0.0.3]|[10.0.0.1]: a=80", "[10.0.0.2]|[10.0.0.1]: b=8080"}},
		"ports are in the order of their hashes, as upstream's": {
			corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}, ClusterIP: "fd96::1", Ports: []corev1.ServicePort{
				{Name: "a", TargetPort: intstr.FromInt32(8081), Protocol: "TCP"}, {Name: "b", TargetPort: intstr.FromInt32(82), Protocol: "TCP"}}},
			[]string{"[fd00::1]|[]: b=82 a=8081"}},
		"the first family alone": {
			corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, ClusterIP: "fd96::1", Ports: ports},
			[]string{"[fd00::1]|[]: b=8080 a=80"}},
		"who asks for them early has them ready, and those that are going too": {
			corev1.ServiceSpec{IPFamilies: four, ClusterIP: "None", PublishNotReadyAddresses: true},
			[]string{"[10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.9]|[]:"}},
		"without ports only a headless Service has any": {
			corev1.ServiceSpec{IPFamilies: four, ClusterIP: "10.96.0.1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := subsetsOf(&corev1.Service{Spec: c.spec}, pods)
			if diff := cmp.Diff(c.want, toldSubsets(got)); diff != "" {
				t.Error(diff)
			}
			if !sameSubsets(got, repackSubsets(got)) {
				t.Error("arranged twice, they are others")
			}
		})
	}
}

func TestEndpointsThatNeedNoWrite(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: map[string]string{"l": "1"}}, Spec: corev1.ServiceSpec{ClusterIP: "None"}}
	pods := []*corev1.Pod{podAt("10.0.0.1", true)}
	first := endpointsOf(service, pods, nil, noon())
	want := map[string]string{"l": "1", corev1.IsHeadlessService: "", managedLabel: endpointsKeeper}
	if diff := cmp.Diff(want, first.Labels); diff != "" {
		t.Error(diff)
	}
	if first.Annotations[corev1.EndpointsLastChangeTriggerTime] != "2026-05-01T12:00:00Z" || first.Subsets[0].Addresses[0].Hostname != "h" && service.Name == "s" && pods[0].Namespace == "" {
		t.Errorf("%+v", first)
	}
	if again := endpointsOf(service, pods, first, noon()); again != nil {
		t.Error("what is right already is written again")
	}
	service.Labels = map[string]string{"l": "2"}
	if endpointsOf(service, pods, first, noon()) == nil {
		t.Error("a label that has changed is not passed on")
	}
}

func TestTruncateSubsets(t *testing.T) {
	addresses := func(n int) []corev1.EndpointAddress { return make([]corev1.EndpointAddress, n) }
	for name, c := range map[string]struct {
		in, want []corev1.EndpointSubset
		cut      bool
	}{
		"as many as may be": {
			[]corev1.EndpointSubset{{Addresses: addresses(600), NotReadyAddresses: addresses(400)}},
			[]corev1.EndpointSubset{{Addresses: addresses(600), NotReadyAddresses: addresses(400)}}, false},
		"those that are not ready go first": {
			[]corev1.EndpointSubset{{Addresses: addresses(500), NotReadyAddresses: addresses(400)}, {Addresses: addresses(300), NotReadyAddresses: addresses(400)}},
			[]corev1.EndpointSubset{{Addresses: addresses(500), NotReadyAddresses: addresses(100)}, {Addresses: addresses(300), NotReadyAddresses: addresses(100)}}, true},
		"then others, in proportion": {
			[]corev1.EndpointSubset{{Addresses: addresses(1500), NotReadyAddresses: addresses(1)}, {Addresses: addresses(500)}},
			[]corev1.EndpointSubset{{Addresses: addresses(750)}, {Addresses: addresses(250)}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := slices.Clone(c.in)
			if cut := truncateSubsets(got); cut != c.cut {
				t.Errorf("cut: %v", cut)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMirror(t *testing.T) {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "e", UID: "u", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "a": "1"}},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}, {IP: "fd00::1"}, {IP: "nowhere"}},
			NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.2"}}, Ports: []corev1.EndpointPort{{Name: "p", Port: 80, Protocol: "TCP"}}}}}
	first := planMirror(e, nil)
	var told []string
	for i, s := range first.create {
		s.Name = fmt.Sprint(i) // as the API does
		for _, endpoint := range s.Endpoints {
			told = append(told, fmt.Sprintf("%s %s %v", s.AddressType, endpoint.Addresses[0], *endpoint.Conditions.Ready))
		}
	}
	if diff := cmp.Diff([]string{"IPv4 10.0.0.1 true", "IPv4 10.0.0.2 false", "IPv6 fd00::1 true"}, told); diff != "" {
		t.Error(diff)
	}
	if first.invalid != 1 || first.skipped != 1 || len(first.create[0].Annotations) != 1 {
		t.Errorf("%d invalid, %d skipped, annotations %v", first.invalid, first.skipped, first.create[0].Annotations)
	}
	counts := func(p mirrorPlan) []int { return []int{len(p.create), len(p.update), len(p.drop)} }
	if diff := cmp.Diff([]int{0, 0, 0}, counts(planMirror(e, first.create))); diff != "" {
		t.Errorf("nothing has changed: %s", diff)
	}
	moved := e.DeepCopy()
	moved.Subsets[0].Ports[0].Port = 81
	if diff := cmp.Diff([]int{0, 2, 0}, counts(planMirror(moved, first.create))); diff != "" {
		t.Errorf("slices of other ports are made into those of the new ones: %s", diff)
	}
	reborn := e.DeepCopy()
	reborn.UID = "v"
	if diff := cmp.Diff([]int{0, 2, 0}, counts(planMirror(reborn, first.create))); diff != "" {
		t.Errorf("Endpoints made anew own their slices: %s", diff)
	}
	twice := append(slices.Clone(first.create), &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "x"}, AddressType: first.create[0].AddressType, Ports: first.create[0].Ports})
	if diff := cmp.Diff([]int{0, 0, 1}, counts(planMirror(e, twice))); diff != "" {
		t.Errorf("a second slice of the same ports goes: %s", diff)
	}
}
