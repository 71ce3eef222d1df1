package admission

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// pod is the pod of a write to pods themselves, through none of their sub-resources.
func (a *Attributes) pod() (*corev1.Pod, bool) {
	pod, ok := a.Object.(*corev1.Pod)
	return pod, ok && a.Is("", "pods")
}

// containersAt visits all containers of a pod with the place of each: init containers, containers, ephemeral
// containers. The latter are seen as the container that they extend.
func containersAt(spec *corev1.PodSpec) iter.Seq2[*field.Path, *corev1.Container] {
	at := field.NewPath("spec")
	return func(yield func(*field.Path, *corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(at.Child("initContainers").Index(i), &spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(at.Child("containers").Index(i), &spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield(at.Child("ephemeralContainers").Index(i), (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}
