package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// ownerReferences asks for the right to delete an object before its owners change, for the owners' end is then its end;
// and for the right to an owner's finalizers before its deletion is made to wait for the object. Who creates an object
// could as well not have done so.
func ownerReferences(host Host) (Plugin, error) {
	o := owners{host.Authorizer, host.Rows}
	return Plugin{Operations: []Operation{Create, Update}, Validate: func(ctx context.Context, a *Attributes) error {
		podStatus := a.Resource.Group == "" && a.Resource.Resource == "pods" && a.Subresource == "status" // cannot change owners
		if a.Object == nil || podStatus || equality.Semantic.DeepEqual(ownersOf(a.Object), ownersOf(a.Old)) {
			return nil
		}
		if a.Operation != Create {
			if err := o.mayDelete(ctx, a); err != nil {
				return err
			}
		}
		return o.mayBlock(ctx, a)
	}}, nil
}

// owners is what the plugin goes by.
type owners struct {
	authorizer registry.Authorizer
	rows       func() []*registry.Resource
}

// ownersOf are an object's owners; a list that is not there is as good as an empty one.
func ownersOf(o registry.Object) []metav1.OwnerReference {
	if o == nil {
		return nil
	}
	return o.GetOwnerReferences()
}

func (o owners) mayDelete(ctx context.Context, a *Attributes) error {
	decision, reason, err := o.authorizer.Authorize(ctx, &registry.Attributes{User: a.User, Verb: "delete", ResourceRequest: true,
		Namespace: a.Namespace, Group: a.Resource.Group, Version: a.Resource.Version, Resource: a.Resource.Resource, Subresource: a.Subresource, Name: a.Name})
	if decision != registry.Allow {
		return a.forbid("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err)
	}
	return nil
}

func (o owners) mayBlock(ctx context.Context, a *Attributes) error {
	refs := newlyBlocking(ownersOf(a.Object), ownersOf(a.Old))
	if len(refs) == 0 {
		return nil
	}
	anything := registry.Attributes{User: a.User, Verb: "update", ResourceRequest: true, Group: "*", Version: "*", Resource: "*", Subresource: "finalizers", Name: "*"}
	if decision, _, _ := o.authorizer.Authorize(ctx, &anything); decision == registry.Allow {
		return nil
	}
	for _, ref := range refs {
		wishes, err := o.finalizersOf(ref, a)
		if err != nil {
			return a.forbid("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %v", ref.APIVersion, ref.Kind, err)
		}
		for _, wish := range wishes {
			if decision, reason, err := o.authorizer.Authorize(ctx, &wish); decision != registry.Allow {
				return a.forbid("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err)
			}
		}
	}
	return nil
}

// newlyBlocking are the owners whose deletion waits for the object from now on.
func newlyBlocking(is, was []metav1.OwnerReference) []metav1.OwnerReference {
	blocked := map[string]bool{}
	for _, ref := range was {
		blocked[string(ref.UID)] = ptr.Deref(ref.BlockOwnerDeletion, false)
	}
	var newly []metav1.OwnerReference
	for _, ref := range is {
		if ptr.Deref(ref.BlockOwnerDeletion, false) && !blocked[string(ref.UID)] {
			newly = append(newly, ref)
		}
	}
	return newly
}

// finalizersOf is the right to change the owner's finalizers, for each resource of its kind.
func (o owners) finalizersOf(ref metav1.OwnerReference, a *Attributes) ([]registry.Attributes, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	var wishes []registry.Attributes
	for _, row := range o.rows() {
		if row.Group != gv.Group || row.Kind != ref.Kind || !slices.ContainsFunc(row.Versions, func(v registry.Version) bool { return v.Name == gv.Version }) {
			continue
		}
		wish := registry.Attributes{User: a.User, Verb: "update", ResourceRequest: true, Group: gv.Group, Version: gv.Version,
			Resource: row.Plural, Subresource: "finalizers", Name: ref.Name}
		if row.Namespaced {
			wish.Namespace = a.Namespace
		}
		wishes = append(wishes, wish)
	}
	if len(wishes) == 0 {
		return nil, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, SearchedVersions: []string{gv.Version}}
	}
	return wishes, nil
}
