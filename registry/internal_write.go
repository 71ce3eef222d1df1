package registry

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// The server's own writes: objects that it keeps itself (default namespaces, the `kubernetes` Service, addresses).
// They take the way of a request below admission: Default, Normalize, field management, Begin, Prepare, Validate,
// Canonicalize, store.

// fieldManager is who the server is in managedFields.
const fieldManager = "kube-apiserver"

// Create stores a new object; AlreadyExists if there is one.
func (r *Registry) Create(ctx context.Context, row *Resource, obj Object) (Object, error) {
	w := r.ownWrite(row, "create", "", obj.GetNamespace())
	row.fillIn(obj)
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(metav1.NewTime(w.Now.Truncate(time.Second)))
	obj, err := w.own(obj, nil)
	if err != nil {
		return nil, err
	}
	finish, err := w.begin(ctx, obj, nil)
	if err != nil {
		return nil, err
	}
	stored := false
	defer func() { finish(stored) }()
	if err := w.settle(obj, nil, row.Prepare, row.Validate); err != nil {
		return nil, err
	}
	entry, err := r.Store(row.Group, row.Plural).Create(ctx, objectKey(obj), obj, row.life(obj))
	if err != nil {
		return nil, err
	}
	stored = true
	return entry.Object()
}

// Update changes a stored object, through a sub-resource's door if one is named; NotFound if there is none.
// change gets a copy; it may be called several times.
func (r *Registry) Update(ctx context.Context, row *Resource, door string, key store.Key, change func(Object) error) (Object, error) {
	w := r.ownWrite(row, "update", door, key.Namespace)
	prepare, validate := row.Prepare, row.Validate
	for _, s := range row.Subresources {
		if door != "" && s.Name == door {
			prepare, validate = s.Prepare, s.Validate
		}
	}
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
		obj := old.DeepCopyObject().(Object)
		if err := change(obj); err != nil || equal(obj, old) {
			return store.Outcome{}, err
		}
		row.fillIn(obj)
		if obj, err = w.own(obj, old); err != nil {
			return store.Outcome{}, err
		}
		if door == "" {
			if finish, err = w.begin(ctx, obj, old); err != nil {
				finish = func(bool) {}
				return store.Outcome{}, err
			}
		}
		if err := w.settle(obj, old, prepare, validate); err != nil {
			return store.Outcome{}, err
		}
		return store.Outcome{Put: obj, TTL: row.life(obj)}, nil
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
		Now:  time.Now(), Warn: func(string) {},
	}
}

// own has the fields that differ from old's attributed to the server.
func (w *Write) own(obj, old Object) (Object, error) {
	if w.Registry.Manage == nil {
		return obj, nil
	}
	return w.Registry.Manage(w, obj, old, fieldManager)
}

// fillIn fills in what a client need not say.
func (r *Resource) fillIn(obj Object) {
	if r.Default != nil {
		r.Default(obj)
	}
	if r.Normalize != nil {
		r.Normalize(obj)
	}
}

// begin runs the row's Begin, if it has one; the returned function is never nil unless there is an error.
func (w *Write) begin(ctx context.Context, obj, old Object) (func(stored bool), error) {
	finish := func(bool) {}
	if w.Resource.Begin == nil {
		return finish, nil
	}
	f, err := w.Resource.Begin(ctx, w, obj, old)
	if f != nil {
		finish = f
	}
	return finish, err
}

// settle runs what stands between Begin and the store.
func (w *Write) settle(obj, old Object, prepare func(*Write, Object, Object), validate func(*Write, Object, Object) field.ErrorList) error {
	if prepare != nil {
		prepare(w, obj, old)
	}
	if validate != nil {
		if errs := validate(w, obj, old); len(errs) > 0 {
			return apierrors.NewInvalid(w.Resource.GroupKind(), obj.GetName(), errs)
		}
	}
	if w.Resource.Canonicalize != nil {
		w.Resource.Canonicalize(obj)
	}
	return nil
}

// life is how long the object lives in the store; zero is for ever.
func (r *Resource) life(obj Object) time.Duration {
	if r.TimeToLive == nil {
		return 0
	}
	return r.TimeToLive(obj)
}

func objectKey(obj Object) store.Key {
	return store.Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}
