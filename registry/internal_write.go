package registry

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
)

// The server's own writes: objects that it keeps itself (default namespaces, the `kubernetes` Service, addresses).
// They take the way of a request below admission: Default, Normalize, field management, Begin, Prepare, Validate,
// Canonicalize, store.

// fieldManager is who the server is in managedFields.
const fieldManager = "kube-apiserver"

// Create stores a new object; AlreadyExists if there is one.
func (r *Registry) Create(ctx context.Context, row *Resource, obj Object) (Object, error) {
	return r.createAs(ctx, fieldManager, row, obj)
}

// createAs is Create on behalf of another part of the server than itself.
func (r *Registry) createAs(ctx context.Context, manager string, row *Resource, obj Object) (Object, error) {
	w := r.ownWrite(row, "create", "", obj.GetNamespace())
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: row.Group, Version: row.Hub().Name, Kind: row.Kind})
	row.Complete(obj)
	w.FillSystemFields(obj)
	obj, err := w.own(obj, nil, manager)
	if err != nil {
		return nil, err
	}
	finish, err := w.Begin(ctx, obj, nil)
	if err != nil {
		return nil, err
	}
	stored := false
	defer func() { finish(stored) }()
	if err := w.SettleNew(obj); err != nil {
		return nil, err
	}
	row.ToStored(obj)
	entry, err := r.Store(row.Group, row.Plural).Create(ctx, objectKey(obj), obj, row.Life(obj))
	if err != nil {
		return nil, err
	}
	stored = true
	return entry.Object()
}

// Update changes a stored object, through a sub-resource's door if one is named; NotFound if there is none.
// change gets a copy; it may be called several times.
func (r *Registry) Update(ctx context.Context, row *Resource, door string, key store.Key, change func(Object) error) (Object, error) {
	return r.updateAs(ctx, fieldManager, row, door, key, change)
}

// updateAs is Update on behalf of another part of the server than itself.
func (r *Registry) updateAs(ctx context.Context, manager string, row *Resource, door string, key store.Key, change func(Object) error) (Object, error) {
	return r.replace(ctx, row, door, key, func(w *Write, old Object) (Object, error) {
		obj := old.DeepCopyObject().(Object)
		if err := change(obj); err != nil || equal(obj, old) {
			return nil, err
		}
		row.Complete(obj)
		return w.own(obj, old, manager)
	})
}

// replace puts what next makes of a stored object in its place; nil leaves it there.
func (r *Registry) replace(ctx context.Context, row *Resource, door string, key store.Key, next func(w *Write, old Object) (Object, error)) (Object, error) {
	w := r.ownWrite(row, "update", door, key.Namespace)
	sub := row.Subresource(door)
	finish, stored := func(bool) {}, false
	defer func() { finish(stored) }()
	entry, err := r.Store(row.Group, row.Plural).Update(ctx, key, func(current *store.Entry) (store.Outcome, error) {
		finish(false) // of the round before
		finish = func(bool) {}
		if current == nil {
			return store.Outcome{}, apierrors.NewNotFound(row.GroupResource(), key.Name)
		}
		old, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		obj, err := next(w, old)
		if err != nil || obj == nil {
			return store.Outcome{}, err
		}
		if door == "" {
			if finish, err = w.Begin(ctx, obj, old); err != nil {
				finish = func(bool) {}
				return store.Outcome{}, err
			}
		}
		if err := w.SettleChange(sub, obj, old); err != nil {
			return store.Outcome{}, err
		}
		row.ToStored(obj)
		return store.Outcome{Put: obj, TTL: row.Life(obj)}, nil
	})
	if err != nil {
		return nil, err
	}
	stored = true
	return entry.Object()
}

// Delete removes an object if wanted agrees (nil always does); one with finalizers is only marked. NotFound if there
// is none.
func (r *Registry) Delete(ctx context.Context, row *Resource, key store.Key, wanted func(Object) bool) error {
	w := r.ownWrite(row, "delete", "", key.Namespace)
	var gone Object
	_, err := r.Store(row.Group, row.Plural).Update(ctx, key, func(current *store.Entry) (store.Outcome, error) {
		gone = nil
		if current == nil {
			return store.Outcome{}, apierrors.NewNotFound(row.GroupResource(), key.Name)
		}
		obj, err := current.Object()
		if err != nil || wanted != nil && !wanted(obj) {
			return store.Outcome{}, err
		}
		if len(obj.GetFinalizers()) == 0 && (row.Holds == nil || !row.Holds(obj)) {
			gone = obj
			return store.Outcome{Delete: true}, nil
		}
		if obj.GetDeletionTimestamp() != nil {
			return store.Outcome{}, nil
		}
		return store.Outcome{Put: markedDeleting(row, obj, w.Now)}, nil
	})
	if err == nil && gone != nil && row.Deleted != nil {
		row.Deleted(ctx, w, gone)
	}
	return err
}

// markedDeleting is the object, on its way out.
func markedDeleting(row *Resource, obj Object, now time.Time) Object {
	obj = obj.DeepCopyObject().(Object)
	at, grace := metav1.NewTime(now.Truncate(time.Second)), int64(0)
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if row.MarkDeleting != nil {
		row.MarkDeleting(obj)
	}
	return obj
}

// ownWrite is what hooks may know of a write that the server makes for itself.
func (r *Registry) ownWrite(row *Resource, verb, subresource, namespace string) *Write {
	return &Write{
		Registry: r, Resource: row, Verb: verb, Version: row.Hub().Name, Subresource: subresource, Namespace: namespace,
		User: User{Name: "system:apiserver", Groups: []string{"system:masters"}},
		Now:  time.Now(), Warn: func(string) {}, Annotate: func(string, string) {},
	}
}

// own has the fields that differ from old's attributed to a part of the server.
func (w *Write) own(obj, old Object, manager string) (Object, error) {
	if w.Registry.Manage == nil {
		return obj, nil
	}
	return w.Registry.Manage(w, obj, old, manager)
}

func objectKey(obj Object) store.Key {
	return store.Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}
