package registry

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// An answer to a write shows what a read after it shows: protobuf has no empty lists.
func TestEmptyListsAreDropped(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{}}}, Ports: []discoveryv1.EndpointPort{}}
	endpointSlice().dropEmpties(slice)
	if want := (&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{}}}); !reflect.DeepEqual(slice, want) {
		t.Error(cmp.Diff(want, slice))
	}
	n := &corev1.Node{Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{}}, {Names: []string{"a"}}}}}
	node().dropEmpties(n)
	want := &corev1.Node{Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{}, {Names: []string{"a"}}}}}
	if !reflect.DeepEqual(n, want) {
		t.Error(cmp.Diff(want, n))
	}
}

func BenchmarkDropEmpties(b *testing.B) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 2), Volumes: make([]corev1.Volume, 3)}}
	row := pod()
	for b.Loop() {
		row.dropEmpties(p)
	}
}
