package main

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEqualResourceListsAreOne(t *testing.T) {
	list := func(cpu string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("10Mi")}
	}
	pod := func(cpu string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list(cpu)}}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{AllocatedResources: list(cpu),
				Resources: &corev1.ResourceRequirements{Requests: list(cpu), Limits: list("2")}}}}}
	}
	var x trimmer
	trimmed := func(cpu string) *corev1.Pod {
		o, err := x.trim(pod(cpu))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*corev1.Pod)
	}
	lists := func(p *corev1.Pod) []corev1.ResourceList {
		s := p.Status.ContainerStatuses[0]
		return []corev1.ResourceList{p.Spec.Containers[0].Resources.Requests, s.AllocatedResources, s.Resources.Requests, s.Resources.Limits}
	}
	identity := func(l corev1.ResourceList) uintptr { return reflect.ValueOf(l).Pointer() }
	a, b, c := trimmed("10m"), trimmed("10m"), trimmed("20m")
	for i := range 3 {
		if identity(lists(a)[i]) != identity(lists(b)[0]) || identity(lists(a)[i]) == identity(lists(c)[i]) {
			t.Errorf("list %d: equal ones are not one, or different ones are", i)
		}
	}
	if identity(lists(a)[3]) != identity(lists(c)[3]) {
		t.Error("limits that are equal are not one")
	}
	want := pod("20m")
	want.ManagedFields = nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("a pod is another by now: %v", c)
	}
}
