package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
)

// A meter is what quota knows of one resource: which writes change what is used, under which names a quota bounds it,
// and how much of each an object uses.
type meter struct {
	// counts tells whether the write may use more than what was there before.
	counts func(a *Attributes) bool
	// names tells whether the meter measures what a quota calls by this name.
	names func(ctx context.Context, name corev1.ResourceName) bool
	// usage is what an object uses, by all names under which a quota may bound it.
	usage func(ctx context.Context, obj registry.Object) corev1.ResourceList
	// inScope tells whether an object is among those that a quota's scope is about; nil: of no scope.
	inScope func(scope corev1.ScopedResourceSelectorRequirement, obj registry.Object) (bool, error)
	// incomplete refuses an object that does not say how much it needs of what the quota bounds; may be nil.
	incomplete func(bounded []corev1.ResourceName, obj registry.Object) error
}

// meters are the resources of which more than the number of objects is measured, or whose number goes by a second, older
// name; nil for those of which nothing is.
func meters(objects Objects, now func() time.Time) map[schema.GroupResource]*meter {
	all := map[schema.GroupResource]*meter{
		{Resource: "pods"}:                                        podMeter(now),
		{Resource: "services"}:                                    serviceMeter(),
		{Resource: "persistentvolumeclaims"}:                      claimMeter(),
		{Group: resourcev1.GroupName, Resource: "resourceclaims"}: deviceMeter(objects, now),
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceConfigMaps, corev1.ResourceQuotas,
		corev1.ResourceReplicationControllers, corev1.ResourceSecrets} {
		of := schema.GroupResource{Resource: string(name)}
		all[of] = objectMeter(countName(of), name)
	}
	for _, of := range unmetered() {
		all[of] = nil
	}
	return all
}

// unmetered are namespaces, resources that are not stored, and events, which no quota has ever counted.
func unmetered() []schema.GroupResource {
	return []schema.GroupResource{
		{Resource: "namespaces"}, {Resource: "bindings"}, {Resource: "componentstatuses"}, {Resource: "events"},
		{Group: "events.k8s.io", Resource: "events"},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}, {Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}, {Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	}
}

// countName is how a quota calls the number of objects of any resource.
func countName(of schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + of.String())
}

// objectMeter counts objects, under one or several names.
func objectMeter(names ...corev1.ResourceName) *meter {
	return &meter{
		counts: func(a *Attributes) bool { return a.Operation == Create && a.Subresource == "" },
		names:  func(_ context.Context, name corev1.ResourceName) bool { return slices.Contains(names, name) },
		usage: func(context.Context, registry.Object) corev1.ResourceList {
			used := corev1.ResourceList{}
			for _, name := range names {
				used[name] = number(1)
			}
			return used
		},
	}
}

func serviceMeter() *meter {
	count := countName(schema.GroupResource{Resource: "services"})
	names := []corev1.ResourceName{count, corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
	return &meter{
		counts: createsOrUpdates,
		names:  func(_ context.Context, name corev1.ResourceName) bool { return slices.Contains(names, name) },
		usage: func(_ context.Context, obj registry.Object) corev1.ResourceList {
			nodePorts, balancers := serviceDoors(obj.(*corev1.Service))
			return corev1.ResourceList{count: number(1), corev1.ResourceServices: number(1),
				corev1.ResourceServicesNodePorts: number(nodePorts), corev1.ResourceServicesLoadBalancers: number(balancers)}
		},
	}
}

// createsOrUpdates is about writes to objects whose usage can change.
func createsOrUpdates(a *Attributes) bool {
	return a.Subresource == "" && (a.Operation == Create || a.Operation == Update)
}

// serviceDoors are the node ports and load balancers that a service is meant to get.
func serviceDoors(s *corev1.Service) (nodePorts, balancers int) {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return len(s.Spec.Ports), 0
	case corev1.ServiceTypeLoadBalancer:
		if s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts {
			return len(s.Spec.Ports), 1
		}
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				nodePorts++
			}
		}
		return nodePorts, 1
	}
	return 0, 0
}

// Arithmetic of resource lists. None changes what it is given.

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// sum adds name by name.
func sum(a, b corev1.ResourceList) corev1.ResourceList {
	out := maps.Clone(a)
	if out == nil {
		out = corev1.ResourceList{}
	}
	for name, q := range b {
		total, ok := out[name]
		if !ok {
			out[name] = q.DeepCopy()
			continue
		}
		total = total.DeepCopy()
		total.Add(q)
		out[name] = total
	}
	return out
}

// growth is by how much a exceeds b, name by name; zero where it does not.
func growth(a, b corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range a {
		more := q.DeepCopy()
		if before, ok := b[name]; ok {
			more.Sub(before)
		}
		if more.Sign() > 0 {
			out[name] = more
		}
	}
	return out
}

// only is the part of a list whose names are in another.
func only(list, names corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		if _, ok := names[name]; ok {
			out[name] = q
		}
	}
	return out
}

// withoutZeros leaves out what is nothing.
func withoutZeros(list corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		if !q.IsZero() {
			out[name] = q
		}
	}
	return out
}

// listText is a list for people, by name.
func listText(list corev1.ResourceList) string {
	var parts []string
	for _, name := range sortedNames(list) {
		q := list[name]
		parts = append(parts, fmt.Sprintf("%s=%s", name, q.String()))
	}
	return strings.Join(parts, ",")
}

func namesText(names []corev1.ResourceName) string {
	var parts []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		parts = append(parts, string(name))
	}
	return strings.Join(parts, ",")
}
