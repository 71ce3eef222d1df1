package registry

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The middle of every write, a client's or the server's own: what happens to an object between the moment at which it
// is what the writer wants, and the store. The order is upstream's and shows in answers: create reports the kind's
// errors and, if there are none, those of the metadata; update reports both together.

// MetaRules says what the kind's own validation checks of metadata when an object is updated. The rules are checked
// for all kinds before; that a kind checks them again shows in the number of causes.
type MetaRules int

const (
	UpdateRules          MetaRules = iota // those of an update
	UpdateAndCreateRules                  // those of an update and those of a create
	CreateRules                           // those of a create
	CreateRulesTwice                      // those of a create, two times
	NoRules
)

// times says how often each set of rules is checked again.
func (m MetaRules) times() (update, create int) {
	switch m {
	case UpdateRules:
		return 1, 0
	case UpdateAndCreateRules:
		return 1, 1
	case CreateRules:
		return 0, 1
	case CreateRulesTwice:
		return 0, 2
	}
	return 0, 0
}

// FillSystemFields gives a new object its identity.
func (w *Write) FillSystemFields(obj Object) {
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(metav1.NewTime(w.Now.Truncate(time.Second)))
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

// Permit asks whether the writer may write that through a door (nil: the resource itself). What is changed in nothing but
// what garbage collection needs (owners, finalizers), everybody may write who may update: otherwise nobody could delete
// what grants more than he has.
func (w *Write) Permit(ctx context.Context, door *Subresource, obj, old Object) error {
	if w.Resource.Permit == nil || door != nil || old != nil && onlyCollected(obj, old) {
		return nil
	}
	return w.Resource.Permit(ctx, w, obj, old)
}

func onlyCollected(obj, old Object) bool {
	same := obj.DeepCopyObject().(Object)
	same.SetOwnerReferences(old.GetOwnerReferences())
	same.SetFinalizers(old.GetFinalizers())
	same.SetSelfLink(old.GetSelfLink())
	same.SetManagedFields(old.GetManagedFields())
	return equal(same, old)
}

// Begin runs the row's Begin, if it has one; the returned function is never nil unless there is an error.
func (w *Write) Begin(ctx context.Context, obj, old Object) (finish func(stored bool), err error) {
	finish = func(bool) {}
	if w.Resource.Begin == nil {
		return finish, nil
	}
	f, err := w.Resource.Begin(ctx, w, obj, old)
	if f != nil {
		finish = f
	}
	return finish, err
}

// SettleNew prepares and validates a new object.
func (w *Write) SettleNew(obj Object) error {
	row := w.Resource
	if row.Prepare != nil {
		row.Prepare(w, obj, nil)
	}
	metadata := field.NewPath("metadata")
	var errs field.ErrorList
	if row.ValidateName != nil {
		errs = apivalidation.ValidateObjectMetaAccessor(obj, row.Namespaced, row.ValidateName, metadata)
		errs = append(errs, row.checkFinalizers(obj, metadata.Child("finalizers"))...)
	}
	if row.Validate != nil {
		errs = append(errs, row.Validate(w, obj, nil)...)
	}
	if w.Registry.ForbidPrivileged {
		errs = append(errs, refusePrivileged(obj)...)
	}
	if len(errs) == 0 {
		errs = apivalidation.ValidateObjectMetaAccessor(obj, row.Namespaced, pathvalidation.ValidatePathSegmentName, metadata)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(row.GroupKind(), obj.GetName(), errs)
	}
	w.finish(row.Warn, obj, nil)
	return nil
}

// SettleChange prepares and validates a changed object that is written through a door: the resource itself (nil), or
// a sub-resource that updates the object.
func (w *Write) SettleChange(door *Subresource, obj, old Object) error {
	row := w.Resource
	prepare, validate, warn := row.Prepare, row.Validate, row.Warn
	// Who scales an object changes the object itself.
	if door != nil && door.Scale == nil {
		prepare, validate, warn = door.Prepare, door.Validate, door.Warn
	}
	obj.SetGeneration(old.GetGeneration())
	if prepare != nil {
		prepare(w, obj, old)
	}
	keepSystemFields(obj, old, w.Now)
	errs := w.checkMetadata(door, obj, old)
	if validate != nil {
		errs = append(errs, validate(w, obj, old)...)
	}
	if w.Registry.ForbidPrivileged && door == nil {
		errs = append(errs, refusePrivileged(obj)...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(row.GroupKind(), obj.GetName(), errs)
	}
	w.finish(warn, obj, old)
	return nil
}

// keepSystemFields restores what no update may change.
func keepSystemFields(obj, old Object, now time.Time) {
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if created := old.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(metav1.NewTime(now.Truncate(time.Second)))
	} else {
		obj.SetCreationTimestamp(created)
	}
	if at := old.GetDeletionTimestamp(); at != nil {
		obj.SetDeletionTimestamp(at)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(grace)
	}
	obj.SetSelfLink("")
}

// checkMetadata is what all kinds check of an updated object's metadata, and what the kind checks again.
func (w *Write) checkMetadata(door *Subresource, obj, old Object) field.ErrorList {
	row, metadata := w.Resource, field.NewPath("metadata")
	errs := apivalidation.ValidateObjectMetaAccessor(obj, row.Namespaced, pathvalidation.ValidatePathSegmentName, metadata)
	changes := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metadata)
	errs = append(errs, changes...)
	rules := row.UpdateMeta
	if door != nil {
		rules = door.UpdateMeta
	}
	update, create := rules.times()
	finalizers := row.checkFinalizers(obj, metadata.Child("finalizers"))
	for range update {
		errs = append(append(errs, changes...), finalizers...)
	}
	if row.ValidateName == nil {
		return errs
	}
	for range create {
		errs = append(errs, apivalidation.ValidateObjectMetaAccessor(obj, row.Namespaced, row.ValidateName, metadata)...)
		errs = append(errs, finalizers...)
	}
	return errs
}

// checkFinalizers wants qualified names, save of the garbage collector's own and that of namespaces.
func (r *Resource) checkFinalizers(obj Object, path *field.Path) field.ErrorList {
	if r.PlainFinalizers {
		return nil
	}
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		switch {
		case strings.Contains(name, "/"):
		case name == string(corev1.FinalizerKubernetes), name == metav1.FinalizerOrphanDependents, name == metav1.FinalizerDeleteDependents:
		default:
			errs = append(errs, field.Invalid(path.Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// finish warns the writer and lets the kind put its fields in order.
func (w *Write) finish(warn func(w *Write, obj, old Object) []string, obj, old Object) {
	if warn != nil {
		for _, text := range warn(w, obj, old) {
			w.Warn(text)
		}
	}
	if w.Resource.Canonicalize != nil {
		w.Resource.Canonicalize(obj)
	}
}

// ToStored brings an object that everybody has agreed to, and that is about to be stored, to the form in which it will be
// read.
func (r *Resource) ToStored(obj Object) {
	if r.dropEmpties != nil {
		r.dropEmpties(obj)
	}
}

// Complete fills in what a client need not say, and brings aliases of a field in line.
func (r *Resource) Complete(obj Object) {
	if r.Default != nil {
		r.Default(obj)
	}
	if r.Normalize != nil {
		r.Normalize(obj)
	}
}

// Life is how long the object lives in the store; zero is for ever.
func (r *Resource) Life(obj Object) time.Duration {
	if r.TimeToLive == nil {
		return 0
	}
	return r.TimeToLive(obj)
}
