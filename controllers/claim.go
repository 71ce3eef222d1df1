package controllers

import (
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// An owner's objects are those whose controller reference has its UID. Labels say what should be so: an object that
// matches the owner's selector and has no controller is adopted, one that no longer matches is released.

// claim is what has to be done to the objects of an owner so that references and labels agree.
type claim[T metav1.Object] struct {
	mine           []T // with those to be adopted, without those to be released
	adopt, release []T
	finalizers     []string // what is given to those that are adopted, and taken from those that are released
}

// claimOf sorts objects of the owner's namespace. An owner that is going adopts nothing, and nothing that is going is
// adopted or released.
func claimOf[T metav1.Object](owner metav1.Object, selector labels.Selector, objects []T) claim[T] {
	var c claim[T]
	for _, o := range objects {
		reference := metav1.GetControllerOfNoCopy(o)
		matches, going := selector.Matches(labels.Set(o.GetLabels())), o.GetDeletionTimestamp() != nil
		switch {
		case reference != nil && reference.UID != owner.GetUID():
		case reference != nil && matches:
			c.mine = append(c.mine, o)
		case reference != nil:
			if owner.GetDeletionTimestamp() == nil && !going {
				c.release = append(c.release, o)
			}
		case matches && !going && owner.GetDeletionTimestamp() == nil:
			c.adopt = append(c.adopt, o)
			c.mine = append(c.mine, o)
		}
	}
	return c
}

// ownersOrMatching are those whom a change of an object concerns: its controllers of a kind, before and after; whoever might
// adopt it, if it has none.
func ownersOrMatching(kind string, old, now metav1.Object, matching func(metav1.Object) []Key) []Key {
	var keys []Key
	for _, o := range []metav1.Object{old, now} {
		if o == nil {
			continue
		}
		if reference := metav1.GetControllerOfNoCopy(o); reference != nil {
			if reference.Kind == kind {
				keys = append(keys, Key{o.GetNamespace(), reference.Name})
			}
			continue
		}
		if now != nil {
			keys = append(keys, matching(now)...)
		}
	}
	return keys
}

// mayInherit reports whether objects in the cache match an owner's selector but belong to another of its kind and name: one that
// was there before it and left them, perhaps, to whoever comes. The cache may not have seen yet that they are free; who is
// new and finds too few looks into the API then (see Turn.Behind).
func mayInherit(s *Source, owner metav1.Object, kind string, selector labels.Selector) bool {
	return slices.ContainsFunc(s.all(owner.GetNamespace()), func(o metav1.Object) bool {
		reference := metav1.GetControllerOfNoCopy(o)
		return reference != nil && reference.Kind == kind && reference.Name == owner.GetName() && reference.UID != owner.GetUID() &&
			selector.Matches(labels.Set(o.GetLabels()))
	})
}

// selecting are those of the owners whose selectors select an object.
func selecting[Owner metav1.Object](o metav1.Object, owners []Owner, selector func(Owner) *metav1.LabelSelector) (keys []Key) {
	for _, owner := range owners {
		if selectorMatches(selector(owner), o) {
			keys = append(keys, KeyOf(owner))
		}
	}
	return keys
}

// selectorMatches reports whether a selector selects an object. One that is empty or broken selects nothing.
func selectorMatches(s *metav1.LabelSelector, o metav1.Object) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(o.GetLabels()))
}

// ownedBy is the reference that makes owner the controller of an object.
func ownedBy(owner metav1.Object, kind metav1.TypeMeta) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: kind.APIVersion, Kind: kind.Kind, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}
}

// referencePatch changes the very object that was read: it adds a controller reference and finalizers.
func referencePatch(to metav1.Object, reference metav1.OwnerReference, finalizers ...string) []byte {
	change := map[string]any{"ownerReferences": []any{reference}, "uid": to.GetUID()}
	if len(finalizers) > 0 {
		change["finalizers"] = finalizers
	}
	return metadataPatch(change)
}

// releasePatch takes away what referencePatch added.
func releasePatch(o, owner metav1.Object, finalizers ...string) []byte {
	change := map[string]any{"ownerReferences": []any{map[string]any{"$patch": "delete", "uid": owner.GetUID()}}, "uid": o.GetUID()}
	if len(finalizers) > 0 {
		change["$deleteFromPrimitiveList/finalizers"] = finalizers
	}
	return metadataPatch(change)
}

// metadataPatch is a patch of metadata.
func metadataPatch(change map[string]any) []byte {
	body, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		panic(err) // strings and booleans
	}
	return body
}

// claimPods brings references of pods in line.
func claimPods(ctx context.Context, t *Turn, c claim[*corev1.Pod], owner metav1.Object, reference metav1.OwnerReference, fresh func(context.Context) (metav1.Object, error)) error {
	return claimObjects(ctx, t, t.Client.CoreV1().Pods(t.Namespace), c, owner, reference, fresh)
}

// claimObjects brings references in line. fresh reads the owner from the API: only one that is really there, and not going,
// may adopt.
func claimObjects[T metav1.Object](ctx context.Context, t *Turn, client interface {
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
}, c claim[T], owner metav1.Object, reference metav1.OwnerReference, fresh func(context.Context) (metav1.Object, error)) error {
	if len(c.adopt) > 0 {
		now, err := fresh(ctx)
		if err != nil {
			return err
		}
		if now.GetUID() != owner.GetUID() || now.GetDeletionTimestamp() != nil {
			return apierrors.NewConflict(schema.GroupResource{Resource: "owners"}, owner.GetName(), errOwnerChanged)
		}
	}
	for _, o := range c.adopt {
		if _, err := Patch[T](ctx, t, client, o.GetName(), types.StrategicMergePatchType, referencePatch(o, reference, c.finalizers...)); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, o := range c.release {
		_, err := Patch[T](ctx, t, client, o.GetName(), types.StrategicMergePatchType, releasePatch(o, owner, c.finalizers...))
		// Gone, or another by that name: there is nothing to release.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}
