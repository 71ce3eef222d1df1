package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// update replaces an object with the one in the body.
func (c *call) update() error {
	// 1. How is the answer wanted, and how is the request meant?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	o, err := updateOptions(c.r.URL.Query())
	if err != nil {
		return err
	}
	c.begin(o.DryRun, o.FieldManager, o.FieldValidation)
	// 2. Read and decode the body.
	body, err := readBody(c.r)
	if err != nil {
		return err
	}
	if c.sub != nil && c.sub.Scale != nil {
		return c.updateScale(body, o)
	}
	next, err := c.decodeUpdate(body)
	if err != nil {
		return err
	}
	// 3. Put it in the place of the stored one. A further try decodes again: the first has changed its object.
	// Through the status door of a kind that PUT creates, it does so as well.
	entry, obj, created, err := c.change(change{options: o, create: c.row.CreateOnUpdate,
		next: func(context.Context, *store.Entry) (obj registry.Object, err error) {
			if obj = next; obj == nil {
				obj, err = c.decodeUpdate(body)
			}
			next = nil
			return obj, err
		}})
	if err != nil {
		return err
	}
	// 4. Answer with what is stored now.
	return c.writeChanged(entry, obj, created)
}

// decodeUpdate reads a whole object for the name and namespace of the URL.
func (c *call) decodeUpdate(body []byte) (registry.Object, error) {
	obj, err := c.decodeBody(body, c.decoder(), nil)
	if err != nil {
		return nil, err
	}
	obj = c.toHub(obj)
	c.complete(obj)
	c.noteHub(obj)
	return obj, c.checkName(obj)
}

// checkName compares the name and namespace of an object with those of the URL.
func (c *call) checkName(obj registry.Object) error {
	switch obj.GetName() {
	case c.Name:
	case "":
		return badRequest("the name of the object (%s based on URL) was undeterminable: name must be provided", c.Name)
	default:
		return badRequest("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), c.Name)
	}
	return c.checkNamespace(obj)
}

// writeChanged answers an update or patch.
func (c *call) writeChanged(entry *store.Entry, obj registry.Object, created bool) error {
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	if entry == nil {
		return c.writeHub(code, obj)
	}
	return c.writeEntry(code, entry)
}

// A change is what differs between the ways to update an object.
type change struct {
	options runtime.Object
	create  bool // where there is no object, make one
	managed bool // next has attributed the fields already (apply)
	// shown is what admission sees of the object where that is a view of it (its Scale); then next has let admission change
	// the new one. Nil means the object.
	shown func(registry.Object) registry.Object
	// next makes the complete new object, in the hub version, from the stored one (nil: there is none). It may be
	// called several times.
	next func(ctx context.Context, current *store.Entry) (registry.Object, error)
}

// change runs an update inside the store's compare-and-swap loop: whatever another writer does in between, the rules
// below hold for the object that is replaced. A dry run takes the same way on the current object and returns no entry.
func (c *call) change(ch change) (entry *store.Entry, obj registry.Object, created bool, err error) {
	ctx := c.ctx()
	finish, stored := func(bool) {}, false
	defer func() { finish(stored) }()
	deleted := false
	decide := func(current *store.Entry) (store.Outcome, error) {
		finish(false) // of the round before
		finish, deleted = func(bool) {}, false
		if created = current == nil; created {
			if !ch.create {
				return store.Outcome{}, apierrors.NewNotFound(c.row.GroupResource(), c.Name)
			}
			obj, finish, err = c.replaceNothing(ctx, ch)
		} else {
			obj, finish, err = c.replace(ctx, ch, current)
		}
		if finish == nil {
			finish = func(bool) {}
		}
		if err != nil {
			return store.Outcome{}, err
		}
		if deleted = current != nil && c.isFinished(obj); deleted {
			return store.Outcome{Delete: true, Put: obj}, nil
		}
		c.row.ToStored(obj)
		return store.Outcome{Put: obj, TTL: c.row.Life(obj)}, nil
	}
	if c.dryRun {
		if err = c.rehearse(ctx, decide); err == nil && !deleted {
			err = c.store().Rehearse(obj)
		}
		return nil, obj, created, err
	}
	entry, err = c.store().Update(ctx, c.key(), decide)
	if err != nil {
		return nil, nil, false, err
	}
	stored = true
	if deleted {
		// The write took the last finalizer of an object that was to be deleted: the object goes, and the client sees
		// it as it was about to be stored.
		if c.row.Deleted != nil {
			c.row.Deleted(ctx, c.write("delete"), obj)
		}
		obj.SetResourceVersion(entry.Revision.String())
		return nil, obj, false, nil
	}
	c.written()
	return entry, obj, created, nil
}

// written lets the row follow up on a write.
func (c *call) written() {
	if c.row.Written != nil {
		c.row.Written(c.ctx(), c.write("update"))
	}
}

// rehearse runs a decision on the current object without storing what comes of it.
func (c *call) rehearse(ctx context.Context, decide func(*store.Entry) (store.Outcome, error)) error {
	current, err := c.store().Get(ctx, c.key(), "")
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	_, err = decide(current)
	return err
}

// replace makes the object that takes the place of current.
func (c *call) replace(ctx context.Context, ch change, current *store.Entry) (registry.Object, func(bool), error) {
	old, err := current.Object()
	if err != nil {
		return nil, nil, err
	}
	obj, err := ch.next(ctx, current)
	if err != nil {
		return nil, nil, err
	}
	w := c.write("update")
	// 1. Whose are the fields? Then let admission change the object.
	uid := obj.GetUID()
	if !ch.managed {
		if obj, err = c.manage(old, obj); err != nil {
			return nil, nil, err
		}
	}
	a := c.attributes(admission.Update, obj, old, ch.options)
	if ch.shown == nil {
		if err := c.mutate(ctx, a); err != nil {
			return nil, nil, err
		}
	}
	if err := w.Permit(ctx, c.sub, obj, old); err != nil {
		return nil, nil, err
	}
	// 2. Is it the object that the client means?
	if err := c.checkPreconditions(obj, old, uid); err != nil {
		return nil, nil, err
	}
	// 3. Side effects, preparation, validation.
	finish := func(bool) {}
	if c.sub == nil {
		if finish, err = w.Begin(ctx, obj, old); err != nil {
			return nil, nil, err
		}
	}
	if err := w.SettleChange(c.sub, obj, old); err != nil {
		return nil, finish, err
	}
	if ch.shown != nil {
		a.Object, a.Old = ch.shown(obj), ch.shown(old)
	}
	if err := c.s.admission.Validate(ctx, a); err != nil {
		return nil, finish, err
	}
	keepManagedTimes(obj, old)
	return obj, finish, nil
}

// replaceNothing makes the object that an update creates.
func (c *call) replaceNothing(ctx context.Context, ch change) (registry.Object, func(bool), error) {
	obj, err := ch.next(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	if uid := obj.GetUID(); uid != "" && c.patching == "" {
		return nil, nil, c.otherUID(uid, "")
	}
	w := c.write("create")
	wipeSystemFields(obj)
	if !ch.managed {
		if obj, err = c.manage(nil, obj); err != nil {
			return nil, nil, err
		}
	}
	a := c.attributes(admission.Create, obj, nil, ch.options)
	if err := c.mutate(ctx, a); err != nil {
		return nil, nil, err
	}
	if err := w.Permit(ctx, c.sub, obj, nil); err != nil {
		return nil, nil, err
	}
	if v := obj.GetResourceVersion(); v != "" {
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return nil, nil, err
		}
	}
	w.FillSystemFields(obj)
	if !c.dryRun { // which shows the revision that the client named
		obj.SetResourceVersion("")
	}
	finish := func(bool) {}
	if c.sub == nil {
		if finish, err = w.Begin(ctx, obj, nil); err != nil {
			return nil, nil, err
		}
	}
	if err := w.SettleNew(obj); err != nil {
		return nil, finish, err
	}
	if err := c.authorizeCreation(ctx); err != nil {
		return nil, finish, err
	}
	return obj, finish, c.s.admission.Validate(ctx, a)
}

// authorizeCreation asks for the verb create where an update or a patch turns out to be one.
func (c *call) authorizeCreation(ctx context.Context) error {
	a := c.Request.attributes()
	a.User, a.Verb = c.user, "create"
	switch decision, reason, err := c.s.authorizer.Authorize(ctx, &a); {
	case decision == registry.Allow:
		return nil
	case err != nil:
		return apierrors.NewInternalError(err)
	default:
		return forbidden(&a, reason)
	}
}

// optimisticLock is the text of a conflict of revisions; clients look for it.
const optimisticLock = "the object has been modified; please apply your changes to the latest version and try again"

// checkPreconditions compares the identity and revision that the client's object names with those of the stored one.
func (c *call) checkPreconditions(obj, old registry.Object, uid ktypes.UID) error {
	gr := c.row.GroupResource()
	if c.patching == "" && uid != "" && uid != old.GetUID() {
		return c.otherUID(uid, old.GetUID())
	}
	switch v := obj.GetResourceVersion(); {
	case v == old.GetResourceVersion():
	case v != "" && v != "0":
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return err
		}
		return apierrors.NewConflict(gr, c.Name, errors.New(optimisticLock))
	case c.row.RequireRevision:
		// The one error that names the resource where all others name the kind.
		kind := schema.GroupKind{Group: c.row.GroupKind().Group, Kind: c.row.Plural}
		return apierrors.NewInvalid(kind, c.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata").Child("resourceVersion"), uint64(0), "must be specified for an update")})
	default:
		obj.SetResourceVersion(old.GetResourceVersion())
	}
	return nil
}

// etcdKey is where the object is kept, as messages of upstream's store name it.
func (c *call) etcdKey() string {
	key := "/" + c.row.Prefix
	if !c.dryRun {
		key = "/registry" + key
	}
	if c.row.Namespaced {
		key += "/" + c.Namespace
	}
	return key + "/" + c.Name
}

// otherUID is the error about an object of another identity than the client means; is may be empty.
func (c *call) otherUID(want, is ktypes.UID) error {
	return apierrors.NewConflict(c.row.GroupResource(), c.Name, fmt.Errorf("StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, "+
		"AdditionalErrorMsg: Precondition failed: UID in precondition: %s, UID in object meta: %s", c.etcdKey(), want, is))
}

// isFinished reports whether an object that is being deleted has nothing left that holds it.
func (c *call) isFinished(obj registry.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if c.row.Holds != nil {
		return !c.row.Holds(obj)
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// keepManagedTimes keeps the times of the old managedFields where nothing else has changed, so that an update without
// effect writes nothing.
func keepManagedTimes(obj, old registry.Object) {
	now, before := obj.GetManagedFields(), old.GetManagedFields()
	if len(now) != len(before) || len(now) == 0 {
		return
	}
	later := false
	for i := range now {
		a, b := now[i], before[i]
		later = later || !a.Time.Equal(b.Time)
		a.Time, b.Time = nil, nil
		if !equality.Semantic.DeepEqual(a, b) {
			return
		}
	}
	if !later {
		return
	}
	obj.SetManagedFields(before)
	if !equality.Semantic.DeepEqual(obj, old) {
		obj.SetManagedFields(now)
	}
}
