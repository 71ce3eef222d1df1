package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// validateResourceName wants a standard resource, or the qualified name of any other.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := invalidValue(path, name, validation.IsQualifiedName(string(name))); len(errs) > 0 {
		return errs
	}
	if !strings.Contains(string(name), "/") && !isStandardResource(name) {
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource type or fully qualified")}
	}
	return nil
}

// validateContainerResourceName wants a resource that containers may ask for.
func validateContainerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	switch {
	case !strings.Contains(string(name), "/"):
		if !isContainerResource(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case !IsNativeResource(name) && !IsExtendedResource(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// validatePodResourceName wants a resource that spec.resources of a pod may bound.
func validatePodResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := validateResourceName(name, path); len(errs) > 0 {
		return errs
	}
	if !resourcehelper.IsSupportedPodLevelResource(name) {
		return field.ErrorList{field.NotSupported(path, name, sets.List(resourcehelper.SupportedPodLevelResources()))}
	}
	return nil
}

// validateQuantity wants an amount that can be counted at all.
func validateQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Value() < 0 {
		return field.ErrorList{field.Invalid(path, q.Value(), "must be a valid resource quantity")}
	}
	return nil
}

// validateResourceQuantity wants an amount that is possible for the resource.
func validateResourceQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	errs := validateNonnegativeQuantity(q, path)
	if isIntegerResource(name) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// validateResourceRequirements is about the requests and limits of a container. claims are the names of the pod's
// resource claims, the only ones to which the container may refer.
func validateResourceRequirements(r *corev1.ResourceRequirements, claims sets.Set[string], path *field.Path, opts podOptions) field.ErrorList {
	return validateRequirements(r, validateContainerResourceName, claims, path, opts)
}

// validateRequirements is about requests and limits whose names obey nameRule.
func validateRequirements(r *corev1.ResourceRequirements, nameRule func(corev1.ResourceName, *field.Path) field.ErrorList,
	claims sets.Set[string], path *field.Path, opts podOptions) field.ErrorList {
	limits, requests := path.Child("limits"), path.Child("requests")
	var errs field.ErrorList
	for _, name := range sortedKeys(r.Limits) {
		errs = append(errs, validateAmount(name, r.Limits[name], nameRule, limits.Key(string(name)), opts)...)
	}
	for _, name := range sortedKeys(r.Requests) {
		errs = append(errs, validateAmount(name, r.Requests[name], nameRule, requests.Key(string(name)), opts)...)
		errs = append(errs, validateOvercommit(name, r, path)...)
	}
	if !asksForComputeBesideHugePages(r) {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaimReferences(r.Claims, claims, path.Child("claims"))...)
}

func validateAmount(name corev1.ResourceName, q resource.Quantity, nameRule func(corev1.ResourceName, *field.Path) field.ErrorList,
	path *field.Path, opts podOptions) field.ErrorList {
	errs := append(nameRule(name, path), validateResourceQuantity(name, q, path)...)
	if isHugePageResource(name) && !opts.indivisibleHugePages && !isHugePageMultiple(name, q) {
		errs = append(errs, field.Invalid(path, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name)))
	}
	return errs
}

// validateOvercommit holds the request of one resource against its limit.
func validateOvercommit(name corev1.ResourceName, r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	request := r.Requests[name]
	limit, limited := r.Limits[name]
	switch {
	case !limited && !isOvercommittable(name):
		return field.ErrorList{field.Required(path.Child("limits"), "Limit must be set for non overcommitable resources")}
	case !limited:
		return nil
	case !isOvercommittable(name) && request.Cmp(limit) != 0:
		return field.ErrorList{field.Invalid(path.Child("requests"), request.String(),
			fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))}
	case request.Cmp(limit) > 0:
		return field.ErrorList{field.Invalid(path.Child("requests"), request.String(),
			fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))}
	}
	return nil
}

// asksForComputeBesideHugePages is true unless huge pages are asked for alone: a process needs other memory as well.
func asksForComputeBesideHugePages(r *corev1.ResourceRequirements) bool {
	pages := false
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name := range list {
			if name == corev1.ResourceCPU || name == corev1.ResourceMemory {
				return true
			}
			pages = pages || isHugePageResource(name)
		}
	}
	return !pages
}

// validatePodResources is about spec.resources: the sum that the containers share.
func validatePodResources(spec *corev1.PodSpec, claims sets.Set[string], path *field.Path, opts podOptions) field.ErrorList {
	if spec.Resources == nil {
		return nil
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(path, "may not be set for a windows pod")}
	}
	var errs field.ErrorList
	if spec.Resources.Claims != nil {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateRequirements(spec.Resources, validatePodResourceName, claims, path, opts)...)
	return append(errs, validatePodResourceSums(spec, path)...)
}

// validatePodResourceSums wants room in the pod for what its containers ask together (huge pages: are limited to
// together), and for what any of them is limited to alone.
func validatePodResourceSums(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	const tooSmall = "must be greater than or equal to aggregate container %s of %s"
	var errs field.ErrorList
	pod := &corev1.Pod{Spec: *spec}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(requests) {
		sum, whole := requests[name], spec.Resources.Requests[name]
		if _, set := spec.Resources.Requests[name]; set && sum.Cmp(whole) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), whole.String(),
				fmt.Sprintf(tooSmall, "requests", sum.String())))
		}
	}
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(limits) {
		sum, whole := limits[name], spec.Resources.Limits[name]
		if _, set := spec.Resources.Limits[name]; set && isHugePageResource(name) && sum.Cmp(whole) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), whole.String(),
				fmt.Sprintf(tooSmall, "limits", sum.String())))
		}
	}
	for i, c := range spec.Containers {
		for _, name := range sortedKeys(c.Resources.Limits) {
			limit, whole := c.Resources.Limits[name], spec.Resources.Limits[name]
			if _, set := spec.Resources.Limits[name]; set && limit.Cmp(whole) > 0 {
				at := path.Child("containers").Index(i).Key(string(name)).Child("limits")
				errs = append(errs, field.Invalid(at, limit.String(), "must be less than or equal to pod limits of "+whole.String()))
			}
		}
	}
	return errs
}

// validateClaimReferences is about a container's references to the pod's resource claims: to a whole claim, or to one
// request of it. No part of a claim may be referred to twice.
func validateClaimReferences(refs []corev1.ResourceClaim, claims sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]sets.Set[string]{} // the requests referred to, by claim; "" stands for all of them
	for i, ref := range refs {
		at := path.Index(i)
		if ref.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		requests := seen[ref.Name]
		switch {
		case requests.Has(""):
			errs = append(errs, field.Duplicate(at, ref.Name))
		case ref.Request != "":
			errs = append(errs, validateDNSLabel(ref.Request, at.Child("request"))...)
			if requests.Has(ref.Request) {
				errs = append(errs, field.Duplicate(at, ref.Name+"/"+ref.Request))
			}
		default:
			for range requests {
				errs = append(errs, field.Duplicate(at, ref.Name))
			}
		}
		if requests == nil {
			seen[ref.Name] = sets.New(ref.Request)
		} else {
			requests.Insert(ref.Request)
		}
		if !claims.Has(ref.Name) {
			errs = append(errs, claimNotFound(ref.Name, claims, at))
		}
	}
	return errs
}

func claimNotFound(name string, claims sets.Set[string], path *field.Path) *field.Error {
	err := field.NotFound(path, name)
	err.Detail = "must be one of the names in pod.spec.resourceClaims"
	if len(claims) == 0 {
		err.Detail += " which is empty"
	} else {
		err.Detail += ": " + strings.Join(slices.Sorted(maps.Keys(claims)), ", ")
	}
	return err
}
