package registry

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// podBinding puts a pod on a node: the scheduler's last word.
func podBinding() Subresource {
	return Subresource{
		Name: "binding", Verbs: []string{"create"}, Kind: corev1.SchemeGroupVersion.WithKind("Binding"),
		New: func() Object { return &corev1.Binding{} },
		Create: func(ctx context.Context, w *Write, name string, body Object) (runtime.Object, error) {
			return nil, bindPod(ctx, w, name, body.(*corev1.Binding))
		},
	}
}

// binding is the older way to the same: a resource of its own, that is never stored.
func binding() *Resource {
	return Kind[*corev1.Binding]{
		Resource: Resource{
			Plural: "bindings", Singular: "binding", Kind: "Binding", Namespaced: true,
			Verbs: []string{"create"}, Versions: []Version{{Name: "v1"}},
			Answer: func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				obj.SetUID("") // it is taken for the binding's own here, not for the pod's
				return nil, bindPod(ctx, w, obj.GetName(), obj.(*corev1.Binding))
			},
		},
	}.row()
}

// bindPod assigns a pod to the binding's target. The binding's uid and resourceVersion are preconditions; its labels
// and annotations are added to the pod's.
func bindPod(ctx context.Context, w *Write, name string, b *corev1.Binding) error {
	if name != b.Name {
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(b); len(errs) > 0 {
		return errs.ToAggregate()
	}
	if name == "" {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	pods := w.Registry.Resource("", "pods")
	_, err := w.Registry.Store("", "pods").Update(ctx, store.Key{Namespace: w.Namespace, Name: name}, func(current *store.Entry) (store.Outcome, error) {
		if current == nil {
			return store.Outcome{}, apierrors.NewNotFound(pods.GroupResource(), name)
		}
		obj, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		if err := checkBindingPreconditions(b, obj, pods.GroupResource()); err != nil {
			return store.Outcome{}, err
		}
		if err := refuseBinding(obj.(*corev1.Pod)); err != nil {
			return store.Outcome{}, apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, name, err)
		}
		if w.DryRun {
			return store.Outcome{}, nil
		}
		return store.Outcome{Put: boundPod(obj.(*corev1.Pod), b, second(w.Now))}, nil
	})
	return err
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	return errs
}

func checkBindingPreconditions(b *corev1.Binding, p Object, pods schema.GroupResource) error {
	failed := func(what string, want, have any) error {
		return apierrors.NewConflict(pods, p.GetName(), fmt.Errorf(
			"StorageError: invalid object, Code: 4, Key: /registry/%s/%s/%s, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: %s in precondition: %v, %s in object meta: %v",
			pods.Resource, p.GetNamespace(), p.GetName(), what, want, what, have))
	}
	switch {
	case b.UID != "" && b.UID != p.GetUID():
		return failed("UID", b.UID, p.GetUID())
	case b.ResourceVersion != "" && b.ResourceVersion != p.GetResourceVersion():
		return failed("ResourceVersion", b.ResourceVersion, p.GetResourceVersion())
	}
	return nil
}

// refuseBinding says why a pod cannot be put on a node; nil if it can.
func refuseBinding(p *corev1.Pod) error {
	switch {
	case p.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name)
	case p.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName)
	case len(p.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", p.Name)
	}
	return nil
}

// boundPod is the pod on its node. The nomination has served its purpose.
func boundPod(p *corev1.Pod, b *corev1.Binding, now metav1.Time) *corev1.Pod {
	p = p.DeepCopy()
	p.Spec.NodeName = b.Target.Name
	p.Status.NominatedNodeName = ""
	p.Annotations = merged(p.Annotations, b.Annotations)
	p.Labels = merged(p.Labels, b.Labels)
	setPodCondition(&p.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, now)
	return p
}

// merged adds the entries of more to those of m, which it may change.
func merged(m, more map[string]string) map[string]string {
	if m == nil && len(more) > 0 {
		m = make(map[string]string, len(more))
	}
	for key, value := range more {
		m[key] = value
	}
	return m
}
