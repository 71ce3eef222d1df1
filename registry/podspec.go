package registry

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// eachContainer visits all containers of a pod: init containers, containers, ephemeral containers. The latter are seen
// as the container that they extend.
func eachContainer(spec *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// eachContainerAt is eachContainer with the place of each; path is that of the spec.
func eachContainerAt(spec *corev1.PodSpec, path *field.Path) iter.Seq2[*field.Path, *corev1.Container] {
	return func(yield func(*field.Path, *corev1.Container) bool) {
		i := 0
		for c := range eachContainer(spec) {
			if !yield(containerPath(spec, path, i), c) {
				return
			}
			i++
		}
	}
}

// containerPath is the place of the i-th container that eachContainer visits.
func containerPath(spec *corev1.PodSpec, path *field.Path, i int) *field.Path {
	if i < len(spec.InitContainers) {
		return path.Child("initContainers").Index(i)
	}
	if i -= len(spec.InitContainers); i < len(spec.Containers) {
		return path.Child("containers").Index(i)
	}
	return path.Child("ephemeralContainers").Index(i - len(spec.Containers))
}

// isSidecar reports that an init container runs as long as the pod does.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
