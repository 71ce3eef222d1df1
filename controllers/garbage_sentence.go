package controllers

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"
)

// execute does what follows from how an object's owners are.
func (x *garbage) execute(ctx context.Context, t *Turn, n *garbageNode, live *metav1.PartialObjectMetadata, dependents []*garbageNode, owners verdicts) error {
	switch {
	case len(owners.solid) > 0:
		gone := slices.Concat(owners.dangling, owners.waiting)
		if len(gone) == 0 {
			return nil
		}
		return n.loseOwners(ctx, t, gone)
	case len(owners.waiting) > 0 && len(dependents) > 0:
		// Owners that wait for each other in a circle would wait for ever.
		if slices.ContainsFunc(dependents, func(d *garbageNode) bool { return d.phase == garbageWaits }) {
			if err := n.unblockOwners(ctx, t); err != nil {
				return err
			}
		}
		return n.delete(ctx, t, live, metav1.DeletePropagationForeground)
	}
	// What somebody has decided about the object's own dependents stays decided.
	policy := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(live.Finalizers, metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(live.Finalizers, metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	}
	return n.delete(ctx, t, live, policy)
}

// awaitDependents lets an object go that no dependent blocks any more, and has a look at those that do.
func (x *garbage) awaitDependents(ctx context.Context, t *Turn, n *garbageNode, dependents []*garbageNode) error {
	blocked := false
	for _, d := range dependents {
		if !blocks(d.owners, n.uid) {
			continue
		}
		blocked = true
		if d.phase != garbageWaits {
			t.Wake(Key{Name: string(d.uid)})
		}
	}
	if blocked {
		return nil
	}
	return x.loseFinalizer(ctx, t, n, metav1.FinalizerDeleteDependents)
}

// release takes the references to an object from its dependents, and lets it go.
func (x *garbage) release(ctx context.Context, t *Turn, n *garbageNode, dependents []*garbageNode) error {
	err := eachOf(len(dependents), func(i int) error {
		d := dependents[i]
		if err := goneAlready(d.loseOwners(ctx, t, []types.UID{n.uid})); err != nil {
			return fmt.Errorf("orphan %s %s: %w", d.resource.Kind.Kind, d.Key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.loseFinalizer(ctx, t, n, metav1.FinalizerOrphanDependents)
}

// loseFinalizer takes a finalizer from an object.
func (x *garbage) loseFinalizer(ctx context.Context, t *Turn, n *garbageNode, finalizer string) error {
	live, err := x.live(ctx, t, n)
	if live == nil || err != nil || !slices.Contains(live.Finalizers, finalizer) {
		return err
	}
	rest := slices.DeleteFunc(live.Finalizers, func(f string) bool { return f == finalizer })
	body := metadataPatch(map[string]any{"resourceVersion": live.ResourceVersion, "finalizers": rest})
	_, err = n.client(t).Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{})
	return goneAlready(err)
}

// live is the very object as the API has it; nil if it has none.
func (x *garbage) live(ctx context.Context, t *Turn, n *garbageNode) (*metav1.PartialObjectMetadata, error) {
	live, err := n.client(t).Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && live.UID != n.uid {
		return nil, nil
	}
	return live, err
}

func (n *garbageNode) client(t *Turn) metadata.ResourceInterface {
	return t.Metadata.Resource(n.resource.resource).Namespace(n.Namespace)
}

// delete deletes an object unless its owners have changed since it was judged.
func (n *garbageNode) delete(ctx context.Context, t *Turn, judged *metav1.PartialObjectMetadata, policy metav1.DeletionPropagation) error {
	options := metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &judged.UID, ResourceVersion: &judged.ResourceVersion}}
	err := n.client(t).Delete(ctx, n.Name, options)
	if apierrors.IsConflict(err) {
		now, problem := n.client(t).Get(ctx, n.Name, metav1.GetOptions{})
		if problem != nil {
			return goneAlready(problem)
		}
		if now.UID == judged.UID && equality.Semantic.DeepEqual(now.OwnerReferences, judged.OwnerReferences) {
			// It is changed so often that its revision never holds.
			options.Preconditions.ResourceVersion = nil
			err = n.client(t).Delete(ctx, n.Name, options)
		}
	}
	return goneAlready(err)
}

// loseOwners takes references from an object.
func (n *garbageNode) loseOwners(ctx context.Context, t *Turn, owners []types.UID) error {
	var gone []any
	for _, uid := range owners {
		gone = append(gone, map[string]any{"$patch": "delete", "uid": uid})
	}
	return n.patchOwners(ctx, t, gone, func(r metav1.OwnerReference) (metav1.OwnerReference, bool) {
		return r, !slices.Contains(owners, r.UID)
	})
}

// unblockOwners lets the owners of an object go before it. If it blocks none, nothing is written: a list of no references
// would take those that there are.
func (n *garbageNode) unblockOwners(ctx context.Context, t *Turn) error {
	var free []any
	for _, r := range n.owners {
		if ptr.Deref(r.BlockOwnerDeletion, false) {
			r.BlockOwnerDeletion = ptr.To(false)
			free = append(free, r)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return n.patchOwners(ctx, t, free, func(r metav1.OwnerReference) (metav1.OwnerReference, bool) {
		r.BlockOwnerDeletion = ptr.To(false)
		return r, true
	})
}

// patchOwners changes references of the very object. What does not know strategic patches (custom resources do not) gets
// the whole list, as it was a moment ago with each reference changed or left out.
func (n *garbageNode) patchOwners(ctx context.Context, t *Turn, changes []any, change func(metav1.OwnerReference) (metav1.OwnerReference, bool)) error {
	body := metadataPatch(map[string]any{"ownerReferences": changes, "uid": n.uid})
	_, err := n.client(t).Patch(ctx, n.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{})
	if !apierrors.IsUnsupportedMediaType(err) {
		return err
	}
	live, err := n.client(t).Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	rest := []metav1.OwnerReference{}
	for _, r := range live.OwnerReferences {
		if changed, stays := change(r); stays {
			rest = append(rest, changed)
		}
	}
	body = metadataPatch(map[string]any{"ownerReferences": rest, "uid": n.uid, "resourceVersion": live.ResourceVersion})
	_, err = n.client(t).Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{})
	return err
}
