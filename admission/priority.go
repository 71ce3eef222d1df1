package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry"
)

// priority gives a pod the numbers of its priority class, or of the cluster's default class, and lets nobody write them
// by hand. Only one class can be the default.
func priority(objects Objects) Plugin {
	return Plugin{
		Operations: []Operation{Create, Update},
		Mutate: func(ctx context.Context, a *Attributes) error {
			pod, ok := a.pod()
			if !ok {
				return nil
			}
			if a.Operation == Update {
				keepPriority(pod, a.Old.(*corev1.Pod))
				return nil
			}
			return givePriority(ctx, objects, a, pod)
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			class, ok := a.Object.(*schedulingv1.PriorityClass)
			if !ok || !class.GlobalDefault {
				return nil
			}
			other, err := defaultPriorityClass(ctx, objects)
			switch {
			case err != nil:
				return fmt.Errorf("failed to get default priority class: %w", err)
			case other != nil && (a.Operation == Create || other.Name != class.Name):
				return a.forbid("PriorityClass %v is already marked as default. Only one default can exist", other.Name)
			}
			return nil
		},
	}
}

// keepPriority fills in what an update leaves out.
func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

func givePriority(ctx context.Context, objects Objects, a *Attributes, pod *corev1.Pod) error {
	value, policy := int32(0), corev1.PreemptLowerPriority
	class, err := classOf(ctx, objects, a, pod)
	if err != nil {
		return err
	}
	if class != nil {
		pod.Spec.PriorityClassName = class.Name
		value = class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return a.forbid("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *p, value)
	}
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != policy {
		return a.forbid("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *p, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// classOf is the class that the pod names, else the default one; nil if there is none.
func classOf(ctx context.Context, objects Objects, a *Attributes, pod *corev1.Pod) (*schedulingv1.PriorityClass, error) {
	name := pod.Spec.PriorityClassName
	if name == "" {
		return defaultPriorityClass(ctx, objects)
	}
	found, err := objects.Get(ctx, schedulingv1.GroupName, "priorityclasses", "", name)
	if apierrors.IsNotFound(err) {
		return nil, a.forbid("no PriorityClass with name %v was found", name)
	}
	if err != nil {
		return nil, err
	}
	return found.(*schedulingv1.PriorityClass), nil
}

// defaultPriorityClass is the lowest of those marked as default: there may be several for a moment.
func defaultPriorityClass(ctx context.Context, objects Objects) (*schedulingv1.PriorityClass, error) {
	all, err := objects.List(ctx, schedulingv1.GroupName, "priorityclasses", "")
	return best(all, func(c *schedulingv1.PriorityClass) bool { return c.GlobalDefault },
		func(a, b *schedulingv1.PriorityClass) bool { return a.Value < b.Value }), err
}

// best is the object that is wanted and better than the others; nil if none is wanted.
func best[P registry.Object](all []registry.Object, wanted func(P) bool, better func(a, b P) bool) P {
	var found P
	have := false
	for _, o := range all {
		if p, ok := o.(P); ok && wanted(p) && (!have || better(p, found)) {
			found, have = p, true
		}
	}
	return found
}
