package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// resourceQuota bounds what a namespace uses in sum. The status repeats the bounds and says what is used.
func resourceQuota() *Resource {
	return Kind[*corev1.ResourceQuota]{
		Resource: Resource{
			Plural: "resourcequotas", Singular: "resourcequota", Kind: "ResourceQuota", ShortNames: []string{"quota"},
			Namespaced: true, Prefix: "resourcequotas", Governs: true, Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, Reset: []string{"status"}, ValidateName: apivalidation.NameIsDNSSubdomain,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
				textColumn("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
				ageColumn(),
			},
		},
		Default: func(q *corev1.ResourceQuota) {
			defaultResourceList(q.Spec.Hard)
			defaultResourceList(q.Status.Hard)
			defaultResourceList(q.Status.Used)
		},
		Prepare: func(_ *Write, q, old *corev1.ResourceQuota) {
			q.Status = corev1.ResourceQuotaStatus{}
			if old != nil {
				q.Status = old.Status
			}
		},
		Validate: validateResourceQuota,
		Warn:     warnResourceQuota,
		Status: &Door[*corev1.ResourceQuota]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
			Validate: validateResourceQuotaStatus,
		},
		Cells: resourceQuotaCells,
	}.row()
}

// warnResourceQuota warns of requests that are allowed to exceed the limits, which they never can.
func warnResourceQuota(_ *Write, q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var warnings []string
	for _, name := range []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		limitName := "limits." + name
		requestName, request, requested := quotaRequest(q.Spec.Hard, name)
		limit, limited := q.Spec.Hard[limitName]
		if requested && limited && request.Cmp(limit) > 0 {
			warnings = append(warnings, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)",
				requestName, request.String(), limitName, limit.String()))
		}
	}
	return warnings
}

// quotaRequest finds the bound of requests; those of cpu and memory go by their bare names as well.
func quotaRequest(hard corev1.ResourceList, name corev1.ResourceName) (corev1.ResourceName, resource.Quantity, bool) {
	prefixed := "requests." + name
	if q, set := hard[prefixed]; set || name != corev1.ResourceCPU && name != corev1.ResourceMemory {
		return prefixed, q, set
	}
	q, set := hard[name]
	return name, q, set
}

func resourceQuotaCells(q *corev1.ResourceQuota) []any {
	var requests, limits []string
	for _, name := range sortedKeys(q.Status.Hard) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), Age{At: q.CreationTimestamp}}
}
