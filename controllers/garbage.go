package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// garbage promises that objects go when all their owners have gone, and in what order:
//
//   - in the background, an owner goes at once and what it owned afterwards;
//   - in the foreground, it stays until the dependents that block it are gone, which go in the foreground in their turn;
//   - orphaned dependents lose their reference to the owner, which goes then, and stay.
//
// An object with an owner that stays loses its references to those that do not.
//
//	change of any object -> graph: who is worth a look? -> queue of UIDs -> is there cause, by the caches? -> how is it
//	really? the API is asked for the object and its owners -> verdict -> delete, or patch
//
// The subtle case is an owner that nobody sees: it may be gone, or not have arrived yet, or never have been. The caches
// acquit, but only the API convicts: nothing is deleted unless each of its owners was looked for there, by its kind and
// name and in the namespace of the dependent, and has another UID or is not found.
type garbage struct {
	everything *everything
	graph      *garbageGraph
	// absent are owners that are known not to be: a UID never comes back.
	absent *lru.Cache
}

// absentOwner is how a dependent refers to an owner. Namespace is empty for owners that are in none.
type absentOwner struct {
	namespace, version, kind, name string
	uid                            types.UID
}

const absentOwners = 500

var (
	// errOwnerUnseen is about an owner that is there but has not been seen to come: one would not see it go.
	errOwnerUnseen = errors.New("an owner has not been seen yet")
	errNoSuchKind  = errors.New("no resource is of this kind")
	// errOwnerOutOfReach is about an object in no namespace that refers to an owner in one. It will never be right.
	errOwnerOutOfReach = errors.New("nothing in a namespace owns what is in none")
)

func garbageLoop(c *Config) Loop {
	x := &garbage{c.everything(), newGarbageGraph(), lru.New(absentOwners)}
	return Loop{Everything: x.follow, Reconcile: x.reconcile}
}

// follow keeps the graph.
func (x *garbage) follow(r *Resource) func(old, now metav1.Object) []Key {
	return func(old, now metav1.Object) (keys []Key) {
		for _, uid := range x.graph.observe(r, old, now) {
			keys = append(keys, Key{Name: string(uid)})
		}
		return keys
	}
}

func (x *garbage) reconcile(ctx context.Context, t *Turn) error {
	n, dependents := x.graph.node(types.UID(t.Name))
	if n == nil {
		return nil
	}
	switch n.phase {
	case garbageGoes:
		return nil
	case garbageReleases:
		return x.release(ctx, t, n, dependents)
	case garbageWaits:
		return x.awaitDependents(ctx, t, n, dependents)
	}
	if x.acquitted(n) {
		return nil
	}
	live, err := x.live(ctx, t, n)
	if live == nil || err != nil || len(live.OwnerReferences) == 0 {
		return err
	}
	owners, err := x.judge(ctx, t, n, live.OwnerReferences)
	if errors.Is(err, errOwnerOutOfReach) {
		return nil // and stays for good
	}
	if err != nil {
		return err
	}
	if err := x.execute(ctx, t, n, live, dependents, owners); err != nil {
		return err
	}
	if owners.unseen {
		return errOwnerUnseen
	}
	return nil
}

// acquitted reports that the caches have all owners of an object, and that none of them waits for it to go.
func (x *garbage) acquitted(n *garbageNode) bool {
	return !slices.ContainsFunc(n.owners, func(r metav1.OwnerReference) bool {
		owner := x.everything.ofKind(schema.FromAPIVersionAndKind(r.APIVersion, r.Kind))
		return owner == nil || !owner.has(ownerKey(owner, n.Namespace, r), r.UID)
	})
}

// has reports that an object is in the cache and does not wait for its dependents.
func (r *Resource) has(k Key, uid types.UID) bool {
	if r.informer == nil {
		return false
	}
	o := r.cached(k)
	return o != nil && o.GetUID() == uid && garbagePhaseOf(o) != garbageWaits
}

// ownerKey is where the owner of an object is looked for.
func ownerKey(owner *Resource, namespace string, r metav1.OwnerReference) Key {
	if !owner.Namespaced {
		namespace = ""
	}
	return Key{namespace, r.Name}
}

// verdicts sort the owners of an object: those that are there, those that are not, and those that wait for the object to
// go before they go themselves.
type verdicts struct {
	solid, dangling, waiting []types.UID
	unseen                   bool // one is there that the caches do not have
}

// judge asks the API for the owners of an object.
func (x *garbage) judge(ctx context.Context, t *Turn, n *garbageNode, references []metav1.OwnerReference) (v verdicts, err error) {
	for _, r := range references {
		owner, resource, err := x.owner(ctx, t, n, r)
		switch {
		case err != nil:
			return v, err
		case owner == nil:
			v.dangling = append(v.dangling, r.UID)
			continue
		case garbagePhaseOf(owner) == garbageWaits:
			v.waiting = append(v.waiting, r.UID)
		default:
			v.solid = append(v.solid, r.UID)
		}
		if resource.informer != nil && resource.cached(ownerKey(resource, n.Namespace, r)) == nil {
			v.unseen = true
		}
	}
	return v, nil
}

// owner is an owner of an object as the API has it; nil if it has none.
func (x *garbage) owner(ctx context.Context, t *Turn, n *garbageNode, r metav1.OwnerReference) (*metav1.PartialObjectMetadata, *Resource, error) {
	resource := x.everything.ofKind(schema.FromAPIVersionAndKind(r.APIVersion, r.Kind))
	if resource == nil {
		return nil, nil, fmt.Errorf("owner %s of %s %s: %s %s: %w", r.Name, n.resource.Kind.Kind, n.Key, r.APIVersion, r.Kind, errNoSuchKind)
	}
	if resource.Namespaced && n.Namespace == "" {
		x.reportNamespace(t, n, r, resource)
		return nil, nil, errOwnerOutOfReach
	}
	k := ownerKey(resource, n.Namespace, r)
	coordinates := absentOwner{k.Namespace, r.APIVersion, r.Kind, r.Name, r.UID}
	if _, absent := x.absent.Get(coordinates); absent {
		return nil, resource, nil
	}
	owner, err := t.Metadata.Resource(resource.resource).Namespace(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, err
	}
	if err == nil && owner.UID == r.UID {
		return owner, resource, nil
	}
	x.absent.Add(coordinates, nil)
	x.reportNamespace(t, n, r, resource)
	return nil, resource, nil
}

// reportNamespace tells people of a reference to an owner that is in another namespace than the object.
func (x *garbage) reportNamespace(t *Turn, n *garbageNode, r metav1.OwnerReference, owner *Resource) {
	if !owner.Namespaced || owner.informer == nil {
		return
	}
	elsewhere := slices.ContainsFunc(owner.all(""), func(o metav1.Object) bool { return o.GetUID() == r.UID && o.GetNamespace() != n.Namespace })
	if !elsewhere {
		return
	}
	about := &corev1.ObjectReference{Kind: n.resource.Kind.Kind, APIVersion: n.resource.Kind.GroupVersion().String(), Namespace: n.Namespace, Name: n.Name, UID: n.uid}
	t.Event(about, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		r.APIVersion, r.Kind, n.Namespace, r.Name, r.UID, n.Namespace)
}
