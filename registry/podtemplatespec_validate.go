package registry

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodTemplateSpec is about the pods that a workload will make.
func validatePodTemplateSpec(t *corev1.PodTemplateSpec, path *field.Path, opts podOptions) field.ErrorList {
	spec, annotations := path.Child("spec"), path.Child("annotations")
	errs := slices.Concat(
		metavalidation.ValidateLabels(t.Labels, path.Child("labels")),
		apivalidation.ValidateAnnotations(t.Annotations, annotations),
		validatePodAnnotations(t.Annotations, &t.Spec, annotations, opts),
		validatePodSpec(&t.Spec, nil, spec, opts),
		validateProfileAnnotations(&t.ObjectMeta, &t.Spec, spec),
	)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// validatePodContents is about a pod's annotations and spec, new or changed. The pod's metadata has rules that all
// objects share; what a change may not touch is the pod's own.
func validatePodContents(pod *corev1.Pod, opts podOptions) field.ErrorList {
	path := field.NewPath("spec")
	errs := slices.Concat(
		validatePodAnnotations(pod.Annotations, &pod.Spec, field.NewPath("metadata", "annotations"), opts),
		validatePodSpec(&pod.Spec, &pod.ObjectMeta, path, opts),
	)
	if pod.Spec.ServiceAccountName == "" {
		errs = append(errs, validateNoTokens(pod.Spec.Volumes, path.Child("volumes"))...)
	}
	for i := range pod.Spec.InitContainers {
		errs = append(errs, validateImageTrimmed(&pod.Spec.InitContainers[i], path.Child("initContainers").Index(i))...)
	}
	for i := range pod.Spec.Containers {
		errs = append(errs, validateImageTrimmed(&pod.Spec.Containers[i], path.Child("containers").Index(i))...)
	}
	return errs
}

// validateNewPod is about a pod's annotations and spec when it is created.
func validateNewPod(pod *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := slices.Concat(
		validatePodContents(pod, podOptions{}),
		validateProfileAnnotations(&pod.ObjectMeta, &pod.Spec, path),
	)
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// validateNoTokens keeps a pod without a service account from having tokens of one.
func validateNoTokens(volumes []corev1.Volume, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range volumes {
		if v.Projected == nil {
			continue
		}
		for j, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set"))
			}
		}
	}
	return errs
}
