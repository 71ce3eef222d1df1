package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Annotations of pods that mean something: some were fields in the making (seccomp, AppArmor, tolerations) and must not
// contradict the field of today.

// Annotations that have no name in k8s.io/api.
const (
	podTolerationsAnnotation = "scheduler.alpha.kubernetes.io/tolerations"
	appArmorPrefix           = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	seccompContainerPrefix   = corev1.SeccompContainerAnnotationKeyPrefix
)

// isMirrorPod is about the API's picture of a pod that a node runs from its own files.
func isMirrorPod(annotations map[string]string) bool {
	_, mirror := annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// validatePodAnnotations is about a pod's annotations, or a template's.
func validatePodAnnotations(annotations map[string]string, spec *corev1.PodSpec, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	if isMirrorPod(annotations) && spec.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(corev1.MirrorPodAnnotationKey), annotations[corev1.MirrorPodAnnotationKey],
			"must set spec.nodeName if mirror pod annotation is set"))
	}
	if raw := annotations[podTolerationsAnnotation]; raw != "" {
		errs = append(errs, validateTolerationsAnnotation(raw, path, opts)...)
	}
	if !opts.deletionCost && !isDeletionCost(annotations) {
		errs = append(errs, field.Invalid(path.Key(corev1.PodDeletionCost), annotations[corev1.PodDeletionCost], "must be a 32bit integer"))
	}
	for _, key := range sortedKeys(annotations) {
		value := annotations[key]
		switch {
		case key == corev1.SeccompPodAnnotationKey, strings.HasPrefix(key, seccompContainerPrefix):
			errs = append(errs, validateSeccompAnnotation(value, path.Child(key))...)
		case strings.HasPrefix(key, appArmorPrefix):
			errs = append(errs, validateAppArmorAnnotation(strings.TrimPrefix(key, appArmorPrefix), value, spec, path.Key(key))...)
		}
	}
	return errs
}

func validateTolerationsAnnotation(raw string, path *field.Path, opts podOptions) field.ErrorList {
	var tolerations []corev1.Toleration
	if err := json.Unmarshal([]byte(raw), &tolerations); err != nil {
		// Upstream has a type of the name in another package, and clients have seen it.
		why := strings.ReplaceAll(err.Error(), "v1.Toleration", "core.Toleration")
		return field.ErrorList{field.Invalid(path, podTolerationsAnnotation, why)}
	}
	return validateTolerations(tolerations, path.Child(podTolerationsAnnotation), opts)
}

func validateSeccompAnnotation(profile string, path *field.Path) field.ErrorList {
	switch profile {
	case corev1.SeccompProfileRuntimeDefault, corev1.DeprecatedSeccompProfileDockerDefault, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if file, local := strings.CutPrefix(profile, corev1.SeccompLocalhostProfileNamePrefix); local {
		return validateDescendingPath(file, path)
	}
	return field.ErrorList{field.Invalid(path, profile, "must be a valid seccomp profile")}
}

func validateAppArmorAnnotation(container, profile string, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := false
	for c := range eachContainer(spec) {
		found = found || c.Name == container
	}
	if !found {
		errs = append(errs, field.Invalid(path, container, "container not found"))
	}
	switch profile {
	case "", corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return errs
	}
	if !strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
		errs = append(errs, field.Invalid(path, profile, fmt.Sprintf("invalid AppArmor profile name: %q", profile)))
	}
	return errs
}

// validateProfileAnnotations wants seccomp and AppArmor annotations to say what the fields say, where there are both.
// It is for new pods and for templates: an old pod's annotations cannot change.
func validateProfileAnnotations(meta *metav1.ObjectMeta, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	if len(meta.Annotations) == 0 {
		return nil
	}
	pod := spec.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	errs := validateSeccompMatch(meta.Annotations, corev1.SeccompPodAnnotationKey, pod.SeccompProfile, path.Child("securityContext", "seccompProfile"))
	for at, c := range eachContainerAt(spec, path) {
		own := c.SecurityContext
		if own == nil {
			own = &corev1.SecurityContext{}
		}
		at = at.Child("securityContext")
		errs = append(errs, validateSeccompMatch(meta.Annotations, seccompContainerPrefix+c.Name, own.SeccompProfile, at.Child("seccompProfile"))...)
		if spec.OS != nil && spec.OS.Name == corev1.Windows {
			continue
		}
		profile := pod.AppArmorProfile
		if own.AppArmorProfile != nil {
			profile = own.AppArmorProfile
		}
		errs = append(errs, validateAppArmorMatch(meta.Annotations, appArmorPrefix+c.Name, profile, at.Child("appArmorProfile"))...)
	}
	return errs
}

func validateSeccompMatch(annotations map[string]string, key string, p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	value, annotated := annotations[key]
	if !annotated || p == nil {
		return nil
	}
	same := true
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		same = value == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		same = value == corev1.SeccompProfileRuntimeDefault || value == corev1.DeprecatedSeccompProfileDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		return validateProfileFile("seccomp", value, corev1.SeccompLocalhostProfileNamePrefix, p.LocalhostProfile, path)
	}
	return profileTypes("seccomp", same, path)
}

func validateAppArmorMatch(annotations map[string]string, key string, p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	value, annotated := annotations[key]
	if !annotated || p == nil {
		return nil
	}
	same := true
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		same = value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		same = value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		return validateProfileFile("apparmor", value, corev1.DeprecatedAppArmorBetaProfileNamePrefix, p.LocalhostProfile, path)
	}
	return profileTypes("apparmor", same, path)
}

// validateProfileFile compares a profile on the node with the file that an annotation names after the prefix.
func validateProfileFile(of, annotation, prefix string, file *string, path *field.Path) field.ErrorList {
	annotated, local := strings.CutPrefix(annotation, prefix)
	if !local {
		return profileTypes(of, false, path)
	}
	if file == nil || annotated != *file {
		return field.ErrorList{field.Forbidden(path.Child("localhostProfile"), of+" profile in annotation and field must match")}
	}
	return nil
}

func profileTypes(of string, same bool, path *field.Path) field.ErrorList {
	if same {
		return nil
	}
	return field.ErrorList{field.Forbidden(path.Child("type"), of+" type in annotation and field must match")}
}
