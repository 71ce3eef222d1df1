package server

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// objects reads the registry's watch caches for the gates before it: auth and admission.
type objects struct {
	registry *registry.Registry
	// cached has what the cache does not hold taken as missing: for who asks by names that anybody can make up.
	cached bool
}

// Get returns an object, decoded once for as long as somebody holds it.
func (o objects) Get(ctx context.Context, group, plural, namespace, name string) (registry.Object, error) {
	entry, err := o.entry(ctx, group, plural, namespace, name)
	if err != nil {
		return nil, err
	}
	return entry.Object()
}

// Labels reads what selections look at.
func (o objects) Labels(ctx context.Context, group, plural, namespace, name string) (labels.Labels, error) {
	entry, err := o.entry(ctx, group, plural, namespace, name)
	if err != nil {
		return nil, err
	}
	return entry.Labels()
}

// Identity reads an object's encoding.
func (o objects) Identity(ctx context.Context, group, plural, namespace, name string) (registry.Identity, error) {
	entry, err := o.entry(ctx, group, plural, namespace, name)
	if err != nil {
		return registry.Identity{}, err
	}
	return entry.Identity()
}

// entry looks in the cache as it is; what is not there is asked for once more, as fresh as etcd: another server may have
// made it a moment ago.
func (o objects) entry(ctx context.Context, group, plural, namespace, name string) (*store.Entry, error) {
	s := o.registry.Store(group, plural)
	key := store.Key{Namespace: namespace, Name: name}
	entry, err := s.Get(ctx, key, "0")
	if apierrors.IsNotFound(err) && !o.cached {
		entry, err = s.Get(ctx, key, "")
	}
	return entry, err
}

// List returns what the cache holds.
func (o objects) List(ctx context.Context, group, plural, namespace string) ([]registry.Object, error) {
	l, err := o.registry.Store(group, plural).List(ctx, store.ListOptions{Selection: store.Selection{Namespace: namespace}, ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	var out []registry.Object
	for _, b := range l.Blocks {
		for _, entry := range b.Entries {
			obj, err := entry.Object()
			if err != nil {
				return nil, err
			}
			out = append(out, obj)
		}
	}
	return out, nil
}

// Settle waits until followers know what this server has written.
func (o objects) Settle(ctx context.Context, group, plural string) {
	if s := o.registry.Store(group, plural); s != nil {
		s.Settle(ctx)
	}
}

// Follow decodes each object for as long as changed looks at it. An object that cannot be decoded is as good as none.
func (o objects) Follow(ctx context.Context, group, plural string, changed func(old, now registry.Object)) error {
	s := o.registry.Store(group, plural)
	if s == nil {
		return fmt.Errorf("%s.%s are not served", plural, group)
	}
	return s.Follow(ctx, func(old, now *store.Entry) {
		if was, is := objectOf(old), objectOf(now); was != nil || is != nil {
			changed(was, is)
		}
	})
}

func objectOf(e *store.Entry) registry.Object {
	if e == nil {
		return nil
	}
	obj, err := e.Object()
	if err != nil {
		return nil
	}
	return obj
}
