package main

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestWhatPodsOfOneOwnerHaveInCommonIsOne(t *testing.T) {
	pod := func(name, cpu string) *corev1.Pod { // nothing in it is shared beforehand
		list := func() corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("10Mi")}
		}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}, Labels: map[string]string{"app": "web"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "u", Controller: ptr.To(true)}}},
			Spec: corev1.PodSpec{NodeName: fmt.Sprint("node of ", name), SchedulerName: fmt.Sprint("default", "-scheduler"),
				Containers:  append(make([]corev1.Container, 0, 4), corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{Requests: list()}}),
				Tolerations: []corev1.Toleration{{Key: "k", TolerationSeconds: ptr.To(int64(300))}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: "of " + name, AllocatedResources: list()}}},
		}
	}
	var x trimmer
	trimmed := func(name, cpu string) *corev1.Pod {
		p := pod(name, cpu)
		if _, err := x.trim(p); err != nil {
			t.Fatal(err)
		}
		want := pod(name, cpu)
		want.ManagedFields = nil
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("the pod is another by now: %s", diff)
		}
		return p
	}
	a, b, c := trimmed("a", "10m"), trimmed("b", "10m"), trimmed("c", "20m")
	identity := func(of any) uintptr { return reflect.ValueOf(of).Pointer() }
	for what, of := range map[string]func(p *corev1.Pod) uintptr{
		"labels":      func(p *corev1.Pod) uintptr { return identity(p.Labels) },
		"owners":      func(p *corev1.Pod) uintptr { return identity(p.OwnerReferences) },
		"tolerations": func(p *corev1.Pod) uintptr { return identity(p.Spec.Tolerations) },
		"strings":     func(p *corev1.Pod) uintptr { return identity(unsafe.StringData(p.Spec.SchedulerName)) },
	} {
		if of(a) != of(b) || of(b) != of(c) {
			t.Errorf("%s: equal ones are not one", what)
		}
	}
	for what, of := range map[string]func(p *corev1.Pod) uintptr{
		"containers": func(p *corev1.Pod) uintptr { return identity(p.Spec.Containers) },
		"resources":  func(p *corev1.Pod) uintptr { return identity(p.Spec.Containers[0].Resources.Requests) },
		"allocated":  func(p *corev1.Pod) uintptr { return identity(p.Status.ContainerStatuses[0].AllocatedResources) },
	} {
		if of(a) != of(b) || of(b) == of(c) {
			t.Errorf("%s: equal ones are not one, or different ones are", what)
		}
	}
	// What was trimmed is shared by readers: another look at it writes nothing.
	tolerations, last := unsafe.SliceData(b.Spec.Tolerations), trimmed("last", "30m")
	last.Spec.Tolerations = slices.Clone(last.Spec.Tolerations)
	if _, err := x.trim(b); err != nil || unsafe.SliceData(b.Spec.Tolerations) != tolerations {
		t.Errorf("a pod is trimmed twice: %v", err)
	}
	if n := cap(c.Spec.Containers); n != 1 {
		t.Errorf("a list of one container has room for %d", n)
	}
}

// What informers hold may be anything that decodes.
func TestSharingChangesNothing(t *testing.T) {
	type inner struct {
		S string
		P *string
		M map[string]int
	}
	type outer struct {
		Bytes []byte
		List  []inner
		Ptrs  []*inner
		When  metav1.Time
		Any   any
	}
	of := func(n int) *outer {
		s := fmt.Sprint(n % 2)
		o := &outer{Bytes: []byte(s), List: []inner{{S: s, P: &s, M: map[string]int{s: n}}, {S: "x"}}[:n%3], Ptrs: []*inner{nil, {S: s}}[:n%2+1],
			When: metav1.Unix(int64(n%2), 0), Any: n % 2}
		if n%4 == 3 {
			o.List, o.Bytes = []inner{}, nil
		}
		return o
	}
	for i := range 12 {
		for j := range 12 {
			v := of(i)
			if equal := share(reflect.ValueOf(v).Elem(), reflect.ValueOf(of(j)).Elem()); equal != reflect.DeepEqual(of(i), of(j)) || !reflect.DeepEqual(v, of(i)) {
				t.Errorf("%d like %d: %v, %v", i, j, equal, v)
			}
		}
	}
}
