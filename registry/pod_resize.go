package registry

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podResizeDoor changes CPU and memory of a pod and its containers while they run.
func podResizeDoor() Door[*corev1.Pod] {
	return Door[*corev1.Pod]{
		Prepare:    preparePodResize,
		Validate:   validatePodResize,
		UpdateMeta: UpdateAndCreateRules,
	}
}

// preparePodResize takes resources and resize policies from the request, and nothing else. Containers that were added,
// removed, renamed or moved are left as they came, for validation to refuse.
func preparePodResize(_ *Write, p, old *corev1.Pod) {
	if len(p.Spec.Containers) == len(old.Spec.Containers) && len(p.Spec.InitContainers) == len(old.Spec.InitContainers) {
		asked := p.Spec
		p.Spec, p.Status = old.Spec, old.Status
		p.Spec.Resources = asked.Resources
		p.Spec.Containers = resizedContainers(asked.Containers, old.Spec.Containers)
		p.Spec.InitContainers = resizedContainers(asked.InitContainers, old.Spec.InitContainers)
		metav1.ResetObjectMetaForStatus(p, old)
	}
	preparePodSpec(p, old)
}

// resizedContainers are the old containers with resources and resize policy of the new ones, or the new ones if their
// names are others.
func resizedContainers(now, old []corev1.Container) []corev1.Container {
	resized := slices.Clone(old)
	for i := range now {
		if now[i].Name != old[i].Name {
			return now
		}
		resized[i].Resources, resized[i].ResizePolicy = now[i].Resources, now[i].ResizePolicy
	}
	return resized
}

func validatePodResize(_ *Write, p, old *corev1.Pod) field.ErrorList {
	if isMirrorPod(old.Annotations) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	path := field.NewPath("spec")
	errs := validatePodContents(p, podOptionsFrom(&old.Spec, &old.ObjectMeta))
	if PodQOS(old) != computeQOS(p) {
		errs = append(errs, field.Invalid(path, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !nodeCanResize(old) {
		errs = append(errs, field.Forbidden(path, "Pod running on node without support for resize"))
	}
	rest := p.Spec.DeepCopy()
	if hasOwnResources(&old.Spec) || hasOwnResources(&p.Spec) {
		errs = append(errs, validatePodLevelResize(rest, &p.Spec, &old.Spec, path)...)
	}
	if len(old.Status.NodeAllocatableResourceClaimStatuses) > 0 {
		errs = append(errs, field.Forbidden(path, "pods with node allocatable resource claims cannot be resized"))
	}
	if moved := validateSameContainers(&p.Spec, &old.Spec, path); len(moved) > 0 {
		return append(errs, moved...) // the rest compares container by container
	}
	for i := range old.Spec.InitContainers {
		at := path.Child("initContainers").Index(i)
		errs = append(errs, validateNothingRemoved(&p.Spec.InitContainers[i].Resources, &old.Spec.InitContainers[i].Resources, at.Child("resources"))...)
		errs = append(errs, validateInitResize(&rest.InitContainers[i], &old.Spec.InitContainers[i], at)...)
	}
	for i := range old.Spec.Containers {
		at := path.Child("containers").Index(i).Child("resources")
		errs = append(errs, validateNothingRemoved(&p.Spec.Containers[i].Resources, &old.Spec.Containers[i].Resources, at)...)
		restoreCompute(&rest.Containers[i].Resources, &old.Spec.Containers[i].Resources)
		if !equal(rest.Containers[i], old.Spec.Containers[i]) {
			errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable"))
		}
	}
	if len(errs) == 0 && !equal(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable"))
	}
	return errs
}

// nodeCanResize looks for the resources that a kubelet reports of running containers if it can resize them. Without a
// running container nobody knows, and the benefit of the doubt is given.
func nodeCanResize(p *corev1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

// hasOwnResources reports that the pod as a whole requests or is limited to something.
func hasOwnResources(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// validatePodLevelResize checks the pod's own resources, and makes those of rest what they were.
func validatePodLevelResize(rest, now, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	if old.Resources != nil && now.Resources == nil {
		return field.ErrorList{field.Forbidden(path.Child("resources"), "pod-level resources cannot be removed")}
	}
	var errs field.ErrorList
	if old.Resources != nil {
		if isResourceRemoved(now.Resources.Requests, old.Resources.Requests) {
			errs = append(errs, field.Forbidden(path.Child("resources", "requests"), "pod-level resource requests cannot be removed"))
		}
		if isResourceRemoved(now.Resources.Limits, old.Resources.Limits) {
			errs = append(errs, field.Forbidden(path.Child("resources", "limits"), "pod-level resource limits cannot be removed"))
		}
	}
	former := corev1.ResourceRequirements{}
	if old.Resources != nil {
		former = *old.Resources
	}
	rest.Resources.Requests = withCompute(rest.Resources.Requests, former.Requests)
	rest.Resources.Limits = withCompute(rest.Resources.Limits, former.Limits)
	if old.Resources == nil && equal(*rest.Resources, corev1.ResourceRequirements{}) {
		rest.Resources = nil
	}
	if !equal(rest.Resources, old.Resources) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

// validateSameContainers refuses to add, remove, rename or move containers.
func validateSameContainers(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(name string, now, old []corev1.Container) {
		if len(now) != len(old) {
			errs = append(errs, field.Forbidden(path.Child(name), name+" may not be added or removed on resize"))
			return
		}
		for i := range old {
			if now[i].Name != old[i].Name {
				errs = append(errs, field.Forbidden(path.Child(name).Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
			}
		}
	}
	check("containers", s.Containers, old.Containers)
	check("initContainers", s.InitContainers, old.InitContainers)
	return errs
}

func validateNothingRemoved(now, old *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if isResourceRemoved(now.Requests, old.Requests) {
		errs = append(errs, field.Forbidden(path.Child("requests"), "resource requests cannot be removed"))
	}
	if isResourceRemoved(now.Limits, old.Limits) {
		errs = append(errs, field.Forbidden(path.Child("limits"), "resource limits cannot be removed"))
	}
	return errs
}

func isResourceRemoved(now, old corev1.ResourceList) bool {
	for name := range old {
		if _, kept := now[name]; !kept {
			return true
		}
	}
	return false
}

// validateInitResize checks a changed init container, and makes CPU and memory of rest what they were. One that has to
// end before others start cannot be restarted for the sake of its size.
func validateInitResize(rest, old *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	changed := !equal(*rest, *old)
	restoreCompute(&rest.Resources, &old.Resources)
	if !equal(*rest, *old) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable"))
	}
	if !changed || isSidecar(rest) {
		return errs
	}
	for _, policy := range rest.ResizePolicy {
		if policy.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
		}
	}
	return errs
}

// restoreCompute makes CPU and memory what they were. Claims are taken out, so that a container with claims is never what
// it was: it cannot be resized.
func restoreCompute(r, old *corev1.ResourceRequirements) {
	*r = corev1.ResourceRequirements{Limits: withCompute(r.Limits, old.Limits), Requests: withCompute(r.Requests, old.Requests)}
}

// withCompute is a copy of the list with CPU and memory as old has them.
func withCompute(list, old corev1.ResourceList) corev1.ResourceList {
	restored := list.DeepCopy()
	if restored == nil {
		restored = corev1.ResourceList{}
	}
	for _, name := range [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(restored, name)
		if quantity, found := old[name]; found {
			restored[name] = quantity
		}
	}
	return restored
}
