package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/knarr-dev/knarr/registry"
)

// tolerateExtendedResources lets a pod that asks for a device onto the nodes that are tainted with the device's name, to
// keep other pods away.
func tolerateExtendedResources() Plugin {
	return Plugin{Operations: []Operation{Create, Update}, Mutate: func(_ context.Context, a *Attributes) error {
		pod, ok := a.pod()
		if !ok {
			return nil
		}
		asked := sets.New[string]()
		for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for _, c := range containers {
				for name := range c.Resources.Requests {
					if registry.IsExtendedResource(name) {
						asked.Insert(string(name))
					}
				}
			}
		}
		for _, name := range sets.List(asked) {
			setToleration(&pod.Spec, corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		}
		return nil
	}}
}

// setToleration puts a toleration in the place of each that is about the same taint, or at the end.
func setToleration(spec *corev1.PodSpec, t corev1.Toleration) {
	for _, have := range spec.Tolerations {
		if t.MatchToleration(&have) && equality.Semantic.DeepEqual(t, have) {
			return
		}
	}
	found := false
	for i := range spec.Tolerations {
		if t.MatchToleration(&spec.Tolerations[i]) {
			spec.Tolerations[i], found = t, true
		}
	}
	if !found {
		spec.Tolerations = append(slices.Clip(spec.Tolerations), t)
	}
}
