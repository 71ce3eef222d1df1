package main

import (
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trimmer makes what informers keep small. What they keep is read by many and written to by nobody, so that equal things
// can be one.
type trimmer struct {
	mu    sync.Mutex
	lists map[string]corev1.ResourceList // by what is in them
}

// mostLists are how many different resource lists are remembered; then it begins anew.
const mostLists = 10000

// trim drops what no part looks at and what is a third of many objects. Half of what is left of a decoded pod are its
// resource lists: each of its containers has five, and all pods of a template have the same.
func (t *trimmer) trim(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	if p, ok := o.(*corev1.Pod); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.trimPod(p)
	}
	return o, nil
}

func (t *trimmer) trimPod(p *corev1.Pod) {
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			t.merge(&containers[i].Resources)
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			s := &statuses[i]
			s.AllocatedResources = t.one(s.AllocatedResources)
			if s.Resources != nil {
				t.merge(s.Resources)
			}
		}
	}
}

func (t *trimmer) merge(r *corev1.ResourceRequirements) {
	r.Requests, r.Limits = t.one(r.Requests), t.one(r.Limits)
}

// one is the list that stands for all that are equal to l. t.mu is held.
func (t *trimmer) one(l corev1.ResourceList) corev1.ResourceList {
	if len(l) == 0 {
		return l
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l)) {
		q := l[name]
		key.WriteString(string(name) + "=" + q.String() + ",")
	}
	if known, ok := t.lists[key.String()]; ok {
		return known
	}
	if t.lists == nil || len(t.lists) >= mostLists {
		t.lists = map[string]corev1.ResourceList{}
	}
	t.lists[key.String()] = l
	return l
}
