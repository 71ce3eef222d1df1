package controllers

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"
)

// quotaMeter measures what objects of one resource use.
type quotaMeter struct {
	// names reports that the meter measures what a quota bounds by that name.
	names func(corev1.ResourceName) bool
	// usage is what an object uses, by all names under which a quota may bound it.
	usage func(o metav1.Object, now time.Time) corev1.ResourceList
	// inScope reports that a scope includes an object; nil if none includes any.
	inScope func(corev1.ScopedResourceSelectorRequirement, metav1.Object) bool
	// frees reports that an object may use less than before; nil if none does.
	frees func(old, now metav1.Object) bool
}

// quotaCount is the name by which a quota bounds the number of objects.
func quotaCount(of schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + of.String())
}

// measure adds up what those objects use that all scopes of a quota include.
func (m quotaMeter) measure(objects []metav1.Object, names []corev1.ResourceName, quota *corev1.ResourceQuota, now time.Time) corev1.ResourceList {
	total := corev1.ResourceList{}
	for _, name := range names {
		total[name] = quotaNumber(0)
	}
	scopes := quotaScopes(&quota.Spec)
	for _, o := range objects {
		out := slices.ContainsFunc(scopes, func(s corev1.ScopedResourceSelectorRequirement) bool { return m.inScope == nil || !m.inScope(s, o) })
		if !out {
			addQuantities(total, m.usage(o, now))
		}
	}
	return total
}

func quotaScopes(s *corev1.ResourceQuotaSpec) (scopes []corev1.ScopedResourceSelectorRequirement) {
	for _, name := range s.Scopes {
		scopes = append(scopes, corev1.ScopedResourceSelectorRequirement{ScopeName: name, Operator: corev1.ScopeSelectorOpExists})
	}
	if s.ScopeSelector != nil {
		scopes = append(scopes, s.ScopeSelector.MatchExpressions...)
	}
	return scopes
}

// objectMeter counts objects, by each of the names.
func objectMeter(names ...corev1.ResourceName) quotaMeter {
	return quotaMeter{
		names: func(name corev1.ResourceName) bool { return slices.Contains(names, name) },
		usage: func(metav1.Object, time.Time) corev1.ResourceList {
			used := corev1.ResourceList{}
			for _, name := range names {
				used[name] = quotaNumber(1)
			}
			return used
		},
	}
}

func serviceMeter() quotaMeter {
	m := objectMeter("count/services", corev1.ResourceServices)
	count := m.usage
	m.names = func(name corev1.ResourceName) bool {
		return slices.Contains([]corev1.ResourceName{"count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}, name)
	}
	m.usage = func(o metav1.Object, now time.Time) corev1.ResourceList {
		used, s := count(o, now), o.(*corev1.Service)
		used[corev1.ResourceServicesNodePorts] = quotaNumber(nodePortsOf(s))
		used[corev1.ResourceServicesLoadBalancers] = quotaNumber(0)
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			used[corev1.ResourceServicesLoadBalancers] = quotaNumber(1)
		}
		return used
	}
	m.frees = func(old, now metav1.Object) bool {
		return nodePortsOf(old.(*corev1.Service)) != nodePortsOf(now.(*corev1.Service)) || old.(*corev1.Service).Spec.Type != now.(*corev1.Service).Spec.Type
	}
	return m
}

// nodePortsOf counts the node ports that a service is meant to have. A load balancer may do without, save those that
// somebody has named.
func nodePortsOf(s *corev1.Service) (n int) {
	switch {
	case s.Spec.Type == corev1.ServiceTypeNodePort,
		s.Spec.Type == corev1.ServiceTypeLoadBalancer && ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true):
		return len(s.Spec.Ports)
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				n++
			}
		}
	}
	return n
}

// ofStorageClass joins a class and what is bounded of it.
const ofStorageClass = ".storageclass.storage.k8s.io/"

// volumeClaimMeter measures the number of claims and what they request, in all and by class.
func volumeClaimMeter() quotaMeter {
	bounded := []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	return quotaMeter{
		names: func(name corev1.ResourceName) bool {
			if _, of, byClass := strings.Cut(string(name), ofStorageClass); byClass {
				name = corev1.ResourceName(of)
			}
			return name == "count/persistentvolumeclaims" || slices.Contains(bounded, name)
		},
		usage: func(o metav1.Object, _ time.Time) corev1.ResourceList {
			claim := o.(*corev1.PersistentVolumeClaim)
			class, annotated := claim.Annotations[corev1.BetaStorageClassAnnotation]
			if !annotated {
				class = ptr.Deref(claim.Spec.StorageClassName, "")
			}
			used := corev1.ResourceList{"count/persistentvolumeclaims": quotaNumber(1)}
			count := func(name corev1.ResourceName, q resource.Quantity) {
				used[name] = q
				if class != "" {
					used[corev1.ResourceName(class)+ofStorageClass+name] = q
				}
			}
			count(corev1.ResourcePersistentVolumeClaims, quotaNumber(1))
			if size, requested := volumeClaimSize(claim); requested {
				count(corev1.ResourceRequestsStorage, size)
			}
			return used
		},
		inScope: func(s corev1.ScopedResourceSelectorRequirement, o metav1.Object) bool {
			return s.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && quotaScopeSelects(s, attributesClasses(o.(*corev1.PersistentVolumeClaim)))
		},
		frees: func(old, now metav1.Object) bool {
			a, b := old.(*corev1.PersistentVolumeClaim), now.(*corev1.PersistentVolumeClaim)
			return a.Status.AllocatedResources.Storage().Cmp(*b.Status.AllocatedResources.Storage()) != 0 || !slices.Equal(attributesClasses(a), attributesClasses(b))
		},
	}
}

// volumeClaimSize is what a claim requests, or has been given if that is more: in whole bytes, as quotas have to be.
func volumeClaimSize(claim *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, requested := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if given, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	return size, requested
}

// attributesClasses are the volume attributes classes that a claim wants, has and is about to get, in order.
func attributesClasses(claim *corev1.PersistentVolumeClaim) []string {
	classes := []string{ptr.Deref(claim.Spec.VolumeAttributesClassName, ""), ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, "")}
	if going := claim.Status.ModifyVolumeStatus; going != nil {
		classes = append(classes, going.TargetVolumeAttributesClassName)
	}
	slices.Sort(classes)
	return slices.DeleteFunc(slices.Compact(classes), func(class string) bool { return class == "" })
}

// quotaScopeSelects reports that a scope selects one of the classes of an object, or that it has none.
func quotaScopeSelects(s corev1.ScopedResourceSelectorRequirement, classes []string) bool {
	operator := map[corev1.ScopeSelectorOperator]selection.Operator{corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist}[s.Operator]
	requirement, err := labels.NewRequirement(string(s.ScopeName), operator, s.Values)
	if err != nil {
		return false
	}
	if len(classes) == 0 {
		return requirement.Matches(labels.Set{})
	}
	return slices.ContainsFunc(classes, func(class string) bool { return requirement.Matches(labels.Set{string(s.ScopeName): class}) })
}

func quotaNumber(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// addQuantities adds to a list.
func addQuantities(to, more corev1.ResourceList) {
	for name, q := range more {
		sum, there := to[name]
		if !there {
			to[name] = q.DeepCopy()
			continue
		}
		sum = sum.DeepCopy()
		sum.Add(q)
		to[name] = sum
	}
}

// quantitiesEqual compares amounts, not how they are written.
func quantitiesEqual(a, b corev1.ResourceList) bool {
	return len(a) == len(b) && equality.Semantic.DeepEqual(a, b)
}
