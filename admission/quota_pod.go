package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/knarr-dev/knarr/registry"
)

// podMeter measures what pods request and are limited to. A finished pod counts as an object alone.
func podMeter(now func() time.Time) *meter {
	return &meter{
		counts: func(a *Attributes) bool {
			switch {
			case a.Subresource == "resize":
				return a.Operation == Update
			case a.Subresource != "":
				return false
			case a.Operation == Update: // into another scope
				return hasDeadline(a.Object.(*corev1.Pod)) != hasDeadline(a.Old.(*corev1.Pod))
			}
			return a.Operation == Create
		},
		names: func(_ context.Context, name corev1.ResourceName) bool { return isPodQuota(name) },
		usage: func(_ context.Context, obj registry.Object) corev1.ResourceList {
			return podUsage(obj.(*corev1.Pod), now())
		},
		inScope: func(scope corev1.ScopedResourceSelectorRequirement, obj registry.Object) (bool, error) {
			return podInScope(scope, obj.(*corev1.Pod))
		},
		incomplete: func(bounded []corev1.ResourceName, obj registry.Object) error {
			return podIncomplete(bounded, obj.(*corev1.Pod))
		},
	}
}

// podCompute maps what containers can name, in requests and in limits, to the names that quotas have for it.
type podCompute struct {
	of       corev1.ResourceName
	requests []corev1.ResourceName
	limit    corev1.ResourceName
	required bool // from every container, once a quota bounds it
}

func podComputes() []podCompute {
	return []podCompute{
		{corev1.ResourceCPU, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceRequestsCPU}, corev1.ResourceLimitsCPU, true},
		{corev1.ResourceMemory, []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceRequestsMemory}, corev1.ResourceLimitsMemory, true},
		{corev1.ResourceEphemeralStorage, []corev1.ResourceName{corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage}, corev1.ResourceLimitsEphemeralStorage, false},
	}
}

// countPods is the number of pods, finished or not; corev1.ResourcePods that of those which are not finished.
const countPods corev1.ResourceName = "count/pods"

func isPodQuota(name corev1.ResourceName) bool {
	if name == countPods || name == corev1.ResourcePods {
		return true
	}
	for _, c := range podComputes() {
		if name == c.limit || slices.Contains(c.requests, name) {
			return true
		}
	}
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) || isExtendedQuota(name)
}

// isExtendedQuota is about requests of extended resources, which are bounded by no other name.
func isExtendedQuota(name corev1.ResourceName) bool {
	if !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return !registry.IsNativeResource(name) || strings.HasPrefix(string(name), corev1.ResourceImplicitExtendedClaimsPerClass)
}

// podUsage is what a pod uses now.
func podUsage(pod *corev1.Pod, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{countPods: number(1)}
	if isOver(pod, now) {
		return used
	}
	o := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	return sum(used, computeUsage(resourcehelper.PodRequests(pod, o), resourcehelper.PodLimits(pod, o)))
}

// isOver tells a pod that uses nothing any more: it has finished, or should be gone but for a node that does not say so.
func isOver(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	at, grace := pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds
	return at != nil && grace != nil && now.After(at.Add(time.Duration(*grace)*time.Second))
}

// computeUsage is requests and limits by the names that quotas have for them.
func computeUsage(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePods: number(1)}
	for _, c := range podComputes() {
		if q, ok := requests[c.of]; ok {
			for _, name := range c.requests {
				used[name] = q
			}
		}
		if q, ok := limits[c.of]; ok {
			used[c.limit] = q
		}
	}
	for name, q := range requests {
		prefixed := corev1.DefaultResourceRequestsPrefix + name
		switch {
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name], used[prefixed] = q, q
		case registry.IsExtendedResource(name), strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix):
			used[prefixed] = q
		}
	}
	return used
}

// podIncomplete names the containers that do not say how much CPU or memory they need though a quota bounds it. A pod
// that says so for itself answers for its containers.
func podIncomplete(bounded []corev1.ResourceName, pod *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[corev1.ResourceName][]string{}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range containers {
			said := computeUsage(c.Resources.Requests, c.Resources.Limits)
			for _, name := range bounded {
				if _, ok := said[name]; !ok && isRequired(name) && !slices.Contains(missing[name], c.Name) {
					missing[name] = append(missing[name], c.Name)
				}
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(slices.Values(bounded)) {
		if containers := missing[name]; containers != nil {
			slices.Sort(containers)
			parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(containers, ",")))
		}
	}
	if parts == nil {
		return nil
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

func isRequired(name corev1.ResourceName) bool {
	return slices.ContainsFunc(podComputes(), func(c podCompute) bool {
		return c.required && (name == c.limit || slices.Contains(c.requests, name))
	})
}

func podInScope(scope corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) (bool, error) {
	switch scope.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return hasDeadline(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !hasDeadline(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return registry.PodQOS(pod) == corev1.PodQOSBestEffort, nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return registry.PodQOS(pod) != corev1.PodQOSBestEffort, nil
	case corev1.ResourceQuotaScopePriorityClass:
		return scopeSelects(scope, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return reachesOtherNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
}

func hasDeadline(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// scopeSelects tells whether one of an object's classes is among those that the scope selects. An object without a
// class is selected by what excludes classes.
func scopeSelects(scope corev1.ScopedResourceSelectorRequirement, classes ...string) (bool, error) {
	classes = slices.DeleteFunc(classes, func(c string) bool { return c == "" })
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{corev1.ScopeSelectorOpIn: selection.In,
		corev1.ScopeSelectorOpNotIn: selection.NotIn, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist}
	if scope.Operator == corev1.ScopeSelectorOpExists {
		return len(classes) > 0, nil
	}
	operator, ok := operators[scope.Operator]
	if !ok {
		return false, fmt.Errorf("failed to parse and convert selector: %q is not a valid scope selector operator", scope.Operator)
	}
	requirement, err := labels.NewRequirement(string(scope.ScopeName), operator, scope.Values)
	if err != nil {
		return false, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	if len(classes) == 0 {
		return requirement.Matches(labels.Set{}), nil
	}
	return slices.ContainsFunc(classes, func(c string) bool {
		return requirement.Matches(labels.Set{string(scope.ScopeName): c})
	}), nil
}

// reachesOtherNamespaces tells whether pods of other namespaces can keep this one from a node, or be kept from it.
func reachesOtherNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, p := range preferred {
			terms = append(terms, p.PodAffinityTerm)
		}
	}
	if to := a.PodAffinity; to != nil {
		add(to.RequiredDuringSchedulingIgnoredDuringExecution, to.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if from := a.PodAntiAffinity; from != nil {
		add(from.RequiredDuringSchedulingIgnoredDuringExecution, from.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool {
		return len(t.Namespaces) > 0 || t.NamespaceSelector != nil
	})
}
