package controllers

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podMeter measures what pods request and are limited to. Of a pod that has ended the object alone counts.
func podMeter() quotaMeter {
	return quotaMeter{
		names: boundsPods,
		usage: func(o metav1.Object, now time.Time) corev1.ResourceList { return podUse(o.(*corev1.Pod), now) },
		inScope: func(s corev1.ScopedResourceSelectorRequirement, o metav1.Object) bool {
			return podInScope(s, o.(*corev1.Pod))
		},
		frees: func(old, now metav1.Object) bool {
			a, b := old.(*corev1.Pod), now.(*corev1.Pod)
			return hasDeadline(a) != hasDeadline(b) || !finished(a) && finished(b) || resized(a.Status.ContainerStatuses, b.Status.ContainerStatuses) ||
				resized(a.Status.InitContainerStatuses, b.Status.InitContainerStatuses)
		},
	}
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func resized(old, now []corev1.ContainerStatus) bool {
	return slices.ContainsFunc(old, func(a corev1.ContainerStatus) bool {
		return slices.ContainsFunc(now, func(b corev1.ContainerStatus) bool {
			return a.Name == b.Name && !equality.Semantic.DeepEqual(a.Resources, b.Resources)
		})
	})
}

// computeBounds are the names by which quotas bound what containers request, and what they are limited to.
func computeBounds(of corev1.ResourceName) (requests []corev1.ResourceName, limits corev1.ResourceName) {
	return []corev1.ResourceName{of, corev1.DefaultResourceRequestsPrefix + of}, "limits." + of
}

func computeResources() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
}

// boundsPods reports that a quota bounds something of pods by that name.
func boundsPods(name corev1.ResourceName) bool {
	for _, of := range computeResources() {
		if requests, limits := computeBounds(of); name == limits || slices.Contains(requests, name) {
			return true
		}
	}
	return name == "count/pods" || name == corev1.ResourcePods || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) || boundsExtended(name)
}

// boundsExtended is about requests for what no node has by itself, for which there is no other name.
func boundsExtended(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		(!isNativeResource(name) || strings.HasPrefix(string(name), corev1.ResourceImplicitExtendedClaimsPerClass))
}

func isNativeResource(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtendedResource reports that containers may request it though nodes do not have it by themselves.
func isExtendedResource(name corev1.ResourceName) bool {
	if strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) {
		return true
	}
	return !isNativeResource(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// podUse is what a pod uses. One that should have gone by now uses nothing: its node may never say so.
func podUse(p *corev1.Pod, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{"count/pods": quotaNumber(1)}
	if finished(p) || p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil &&
		now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds)*time.Second)) {
		return used
	}
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	requests, limits := resourcehelper.PodRequests(p, options), resourcehelper.PodLimits(p, options)
	used[corev1.ResourcePods] = quotaNumber(1)
	for _, of := range computeResources() {
		asRequests, asLimits := computeBounds(of)
		if q, requested := requests[of]; requested {
			used[asRequests[0]], used[asRequests[1]] = q, q
		}
		if q, limited := limits[of]; limited {
			used[asLimits] = q
		}
	}
	for of, q := range requests {
		names, _ := computeBounds(of)
		switch {
		case strings.HasPrefix(string(of), corev1.ResourceHugePagesPrefix):
			used[names[0]], used[names[1]] = q, q
		case isExtendedResource(of):
			used[names[1]] = q
		}
	}
	return used
}

func podInScope(s corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) bool {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return hasDeadline(p)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !hasDeadline(p)
	case corev1.ResourceQuotaScopeBestEffort:
		return p.Status.QOSClass == corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return p.Status.QOSClass != corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopePriorityClass:
		return quotaScopeSelects(s, slices.DeleteFunc([]string{p.Spec.PriorityClassName}, func(class string) bool { return class == "" }))
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return p.Spec.Affinity != nil && slices.ContainsFunc(affinityTerms(p.Spec.Affinity), func(t corev1.PodAffinityTerm) bool {
			return len(t.Namespaces) > 0 || t.NamespaceSelector != nil
		})
	}
	return false
}

func hasDeadline(p *corev1.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

// affinityTerms are all terms about other pods.
func affinityTerms(a *corev1.Affinity) (terms []corev1.PodAffinityTerm) {
	var weighted []corev1.WeightedPodAffinityTerm
	if to := a.PodAffinity; to != nil {
		terms, weighted = append(terms, to.RequiredDuringSchedulingIgnoredDuringExecution...), append(weighted, to.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if from := a.PodAntiAffinity; from != nil {
		terms, weighted = append(terms, from.RequiredDuringSchedulingIgnoredDuringExecution...), append(weighted, from.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, w := range weighted {
		terms = append(terms, w.PodAffinityTerm)
	}
	return terms
}
