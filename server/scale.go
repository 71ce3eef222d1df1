package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// scaleOf shows an object as a Scale, with the object's identity.
func (c *call) scaleOf(o registry.Object) *autoscalingv1.Scale {
	s := c.sub.Scale.Get(o)
	s.SetGroupVersionKind(c.sub.Kind)
	s.ObjectMeta = metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp()}
	return s
}

func (c *call) writeScale(code int, o registry.Object) error {
	s := c.scaleOf(o)
	if c.form.Shape != Whole {
		return c.writeShaped(code, s)
	}
	writeObject(c.w, c.r, code, c.form, metav1.TypeMeta{Kind: c.sub.Kind.Kind, APIVersion: c.sub.Kind.GroupVersion().String()}, s)
	return nil
}

func (c *call) scaleDecoder() decoder {
	return decoder{kind: c.sub.Kind, new: func() runtime.Object { return &autoscalingv1.Scale{} }}
}

// updateScale sets the replica count that a whole Scale says.
func (c *call) updateScale(body []byte, o *metav1.UpdateOptions) error {
	obj, err := c.decodeBody(body, c.scaleDecoder(), nil)
	if err != nil {
		return err
	}
	if err := c.checkName(obj); err != nil {
		return err
	}
	c.noteSent(obj)
	return c.changeScale(o, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return obj.(*autoscalingv1.Scale), nil })
}

// patchScale patches the object's Scale.
func (c *call) patchScale(body []byte, o *metav1.PatchOptions) error {
	return c.changeScale(o, func(live *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		obj, err := c.patchedScale(live, body, o)
		if err != nil {
			return nil, err
		}
		return obj.(*autoscalingv1.Scale), c.checkName(obj)
	})
}

func (c *call) patchedScale(live *autoscalingv1.Scale, body []byte, o *metav1.PatchOptions) (registry.Object, error) {
	switch c.patching {
	case types.ApplyPatchType:
		return c.applyTo(live, body, o)
	case types.StrategicMergePatchType:
		return c.mergedStrategically(live, &autoscalingv1.Scale{}, body)
	}
	whole, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	return c.patchedJSON(whole, body, c.scaleDecoder())
}

// changeScale updates the object through its Scale: next makes the wanted Scale from the live one.
func (c *call) changeScale(o runtime.Object, next func(live *autoscalingv1.Scale) (*autoscalingv1.Scale, error)) error {
	shown := func(obj registry.Object) registry.Object { return c.scaleOf(obj) }
	entry, obj, _, err := c.change(change{options: o, managed: true, shown: shown, next: func(ctx context.Context, current *store.Entry) (registry.Object, error) {
		old, err := current.Object()
		if err != nil {
			return nil, err
		}
		parents := c.scaleFields(old)
		live := c.scaleOf(old)
		if live.ManagedFields, err = parents.ToSubresource(); err != nil {
			return nil, err
		}
		want, err := next(live.DeepCopy())
		if err != nil {
			return nil, err
		}
		if c.patching != types.ApplyPatchType {
			managed, err := c.manage(live, want)
			if err != nil {
				return nil, err
			}
			want = managed.(*autoscalingv1.Scale)
		}
		if err := c.s.admission.Mutate(ctx, c.attributes(admission.Update, want, live, o)); err != nil {
			return nil, err
		}
		if errs := registry.ValidateScale(want); len(errs) > 0 {
			return nil, apierrors.NewInvalid(c.sub.Kind.GroupKind(), c.Name, errs)
		}
		return c.scaled(old, want, parents)
	}})
	if err != nil {
		return err
	}
	if entry != nil {
		if obj, err = entry.Object(); err != nil {
			return err
		}
	}
	return c.writeScale(http.StatusOK, obj)
}

// scaleFields translates the managers of the object's replica count to those of its Scale, and back.
func (c *call) scaleFields(old registry.Object) *managedfields.ScaleHandler {
	mappings := managedfields.ResourcePathMappings{}
	for _, v := range c.row.Versions {
		mappings[groupVersion(c.row.Group, v.Name)] = paths([]string{strings.Join(c.sub.Scale.ReplicasPath, ".")})[0]
	}
	return managedfields.NewScaleHandler(old.GetManagedFields(), c.hubKind().GroupVersion(), mappings)
}

// scaled is the object with the replica count of a Scale.
func (c *call) scaled(old registry.Object, want *autoscalingv1.Scale, parents *managedfields.ScaleHandler) (registry.Object, error) {
	obj := old.DeepCopyObject().(registry.Object)
	c.sub.Scale.Set(obj, want.Spec.Replicas)
	obj.SetResourceVersion(want.ResourceVersion)
	if want.UID != "" {
		obj.SetUID(want.UID)
	}
	entries, err := parents.ToParent(want.ManagedFields)
	if err != nil {
		return nil, err
	}
	obj.SetManagedFields(entries)
	return obj, nil
}
