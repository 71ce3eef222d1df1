package registry

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podEphemeralDoor adds containers to a running pod, to look at it from inside. They are never changed or taken away.
func podEphemeralDoor() Door[*corev1.Pod] {
	return Door[*corev1.Pod]{
		Prepare: func(_ *Write, p, old *corev1.Pod) {
			added := p.Spec.EphemeralContainers
			p.Spec, p.Status = old.Spec, old.Status
			p.Spec.EphemeralContainers = added
			metav1.ResetObjectMetaForStatus(p, old)
			preparePodSpec(p, old)
		},
		Validate:   validateEphemeralContainersUpdate,
		UpdateMeta: UpdateAndCreateRules,
	}
}

func validateEphemeralContainersUpdate(_ *Write, p, old *corev1.Pod) field.ErrorList {
	if isMirrorPod(old.Annotations) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	opts := podOptionsFrom(&old.Spec, &old.ObjectMeta)
	errs := append(validatePodContents(p, opts), validatePodAnnotationUpdate(p, old, opts)...)
	path := field.NewPath("spec", "ephemeralContainers")
	for _, former := range old.Spec.EphemeralContainers {
		// A patch does not keep their order.
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == former.Name })
		if i < 0 {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", former.Name)))
		} else if now := p.Spec.EphemeralContainers[i]; !equal(now, former) {
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", former.Name, diff.Diff(former, now))))
		}
	}
	return errs
}
