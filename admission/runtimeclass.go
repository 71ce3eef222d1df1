package admission

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// runtimeClass gives a pod the overhead of its runtime class, sends it to nodes that have the runtime, and refuses an
// overhead that is not the class's.
func runtimeClass(objects Objects) Plugin {
	ofPod := func(give func(*Attributes, *corev1.Pod, *nodev1.RuntimeClass) error) func(context.Context, *Attributes) error {
		return func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok {
				return nil
			}
			class, err := runtimeClassOf(ctx, objects, a, pod)
			if err != nil {
				return err
			}
			return give(a, pod, class)
		}
	}
	return Plugin{Operations: []Operation{Create}, Mutate: ofPod(giveClass), Validate: ofPod(checkOverhead)}
}

func runtimeClassOf(ctx context.Context, objects Objects, a *Attributes, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	if pod.Spec.RuntimeClassName == nil {
		return nil, nil
	}
	if err := requestable(*pod.Spec.RuntimeClassName); err != nil {
		return nil, err
	}
	found, err := objects.Get(ctx, nodev1.GroupName, "runtimeclasses", "", *pod.Spec.RuntimeClassName)
	if apierrors.IsNotFound(err) {
		return nil, a.forbid("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
	}
	if err != nil {
		return nil, err
	}
	return found.(*nodev1.RuntimeClass), nil
}

func giveClass(a *Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class == nil {
		return nil
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 {
			if err := checkOverhead(a, pod, class); err != nil {
				return err
			}
		}
		pod.Spec.Overhead = maps.Clone(class.Overhead.PodFixed)
	}
	if class.Scheduling == nil {
		return nil
	}
	return giveScheduling(a, pod, class.Scheduling)
}

func checkOverhead(a *Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	switch {
	case class == nil || class.Overhead == nil:
		if pod.Spec.Overhead != nil {
			return a.forbid("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
	case !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return a.forbid("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	}
	return nil
}

func giveScheduling(a *Attributes, pod *corev1.Pod, s *nodev1.Scheduling) error {
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		value := s.NodeSelector[key]
		if own, ok := pod.Spec.NodeSelector[key]; ok && own != value {
			return a.forbid("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own)
		}
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		pod.Spec.NodeSelector[key] = value
	}
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, s.DeepCopy().Tolerations)
	return nil
}
