package registry

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podStatusDoor is the kubelet's and the scheduler's.
func podStatusDoor() *Door[*corev1.Pod] {
	return &Door[*corev1.Pod]{
		Prepare:  preparePodStatus,
		Validate: validatePodStatus,
		Warn:     podStatusWarnings,
		Reset:    []string{"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
	}
}

func preparePodStatus(_ *Write, p, old *corev1.Pod) {
	p.Spec = old.Spec
	p.DeletionTimestamp = nil
	// Old kubelets corrupt owner references, drop the class of a pod that they refuse, and know no generations.
	p.OwnerReferences = old.OwnerReferences
	fill(&p.Status.QOSClass, old.Status.QOSClass)
	keepObservedGenerations(&p.Status, &old.Status)
	dropPodStatusFields(&p.Status, &old.Status)
}

// keepObservedGenerations fills in what a client left out or cleared. Several conditions may be of one type: they are
// matched in their order.
func keepObservedGenerations(s, old *corev1.PodStatus) {
	fill(&s.ObservedGeneration, old.ObservedGeneration)
	former := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Conditions {
		former[c.Type] = append(former[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if left := former[c.Type]; len(left) > 0 {
			former[c.Type] = left[1:]
			fill(&c.ObservedGeneration, left[0])
		}
	}
}

func podStatusWarnings(_ *Write, p, _ *corev1.Pod) []string {
	var warnings []string
	path := field.NewPath("status")
	for i, a := range p.Status.PodIPs {
		warnings = append(warnings, validation.GetWarningsForIP(path.Child("podIPs").Index(i).Child("ip"), a.IP)...)
	}
	for i, a := range p.Status.HostIPs {
		warnings = append(warnings, validation.GetWarningsForIP(path.Child("hostIPs").Index(i).Child("ip"), a.IP)...)
	}
	return warnings
}

// validatePodStatus refuses changes that do not happen in normal operation. Container statuses may be doubled or of
// containers that do not exist: kubelets never report such, and readers have to cope.
func validatePodStatus(_ *Write, p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("status")
	s := &p.Status
	errs := slices.Concat(
		validatePodAnnotationUpdate(p, old, podOptionsFrom(&old.Spec, &old.ObjectMeta)),
		validatePodConditions(s.Conditions, path.Child("conditions")),
		validateNominatedNode(p, old, path.Child("nominatedNodeName")),
		apivalidation.ValidateImmutableField(s.QOSClass, old.Status.QOSClass, path.Child("qosClass")),
		validateRevivals(s.ContainerStatuses, old.Status.ContainerStatuses, old.Spec.Containers, &old.Spec, path.Child("containerStatuses")),
		validateRevivals(s.InitContainerStatuses, old.Status.InitContainerStatuses, old.Spec.InitContainers, &old.Spec, path.Child("initContainerStatuses")),
		validateRevivals(s.EphemeralContainerStatuses, old.Status.EphemeralContainerStatuses, nil, nil, path.Child("ephemeralContainerStatuses")),
		validateClaimStatuses(s.ResourceClaimStatuses, p.Spec.ResourceClaims, path.Child("resourceClaimStatuses")),
		validateExtendedClaimStatus(s.ExtendedResourceClaimStatus, &p.Spec, path.Child("extendedResourceClaimStatus")),
		validateAllocatableClaimStatuses(s, &p.Spec, path.Child("nodeAllocatableResourceClaimStatuses")),
		validatePodIPs(s, &old.Status, path.Child("podIPs")),
		validateHostIPs(s, &old.Status, path.Child("hostIPs")),
		validateContainerUsers(p, path),
		validateResourceHealth(s.ContainerStatuses, p.Spec.Containers, path.Child("containerStatuses")),
		validateResourceHealth(s.InitContainerStatuses, p.Spec.InitContainers, path.Child("initContainerStatuses")),
		validateGeneration(s.ObservedGeneration, path.Child("observedGeneration")),
	)
	for i, c := range s.EphemeralContainerStatuses {
		if len(c.AllocatedResourcesStatus) > 0 {
			at := path.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus")
			errs = append(errs, field.Forbidden(at, "must not be specified in container status"))
		}
	}
	return errs
}
