package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// delete removes an object, or marks it where its grace period or finalizers hold it.
func (c *call) delete() error {
	// 1. How is the answer wanted, and how is the request meant?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	if c.row.Permanent != nil {
		if why := c.row.Permanent(c.Name); why != "" {
			return apierrors.NewForbidden(c.row.GroupResource(), c.Name, errors.New(why))
		}
	}
	// 2. Remove or mark.
	gone, err := c.remove(c.ctx(), c.key(), o)
	if err != nil {
		return err
	}
	// 3. Answer with the object where the kind does so or the object is still there, else with a Status.
	code := http.StatusOK
	if !gone.removed && o.OrphanDependents != nil && !*o.OrphanDependents {
		code = http.StatusAccepted
	}
	if gone.removed && !c.row.DeleteReturnsObject {
		return c.writeDeleted(code, gone.obj)
	}
	return c.writeHub(code, gone.obj)
}

// writeDeleted answers with the Status of a success.
func (c *call) writeDeleted(code int, obj registry.Object) error {
	s := &metav1.Status{TypeMeta: statusType(), Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: obj.GetName(), Group: c.row.Group, Kind: c.row.Plural, UID: obj.GetUID()}}
	if c.form.Shape != Whole {
		c.form.Shape = Whole
	}
	writeObject(c.w, c.r, code, c.form, s.TypeMeta, s)
	return nil
}

// deleteOptions reads the options of a DELETE: from the body where there is one, else from the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	body, err := readBody(c.r)
	if err != nil {
		return nil, err
	}
	o := &metav1.DeleteOptions{}
	if len(body) > 0 {
		if o, err = c.decodeDeleteOptions(body); err == nil {
			c.noteOptions(o)
		}
	} else {
		o, err = readOptions(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_DeleteOptions)
	}
	if err != nil {
		return nil, err
	}
	if len(o.DryRun) == 0 { // who asks for a dry run beside other options means it
		o.DryRun = c.r.URL.Query()["dryRun"]
	}
	if err := invalidOptions("DeleteOptions", metavalidation.ValidateDeleteOptions(o)); err != nil {
		return nil, err
	}
	c.begin(o.DryRun, "", "")
	if c.row.OrphanWarning != "" && o.PropagationPolicy == nil && o.OrphanDependents == nil {
		c.warn(c.row.OrphanWarning)
	}
	return o, nil
}

// decodeDeleteOptions reads a body, which may call itself DeleteOptions of any group's version.
func (c *call) decodeDeleteOptions(body []byte) (*metav1.DeleteOptions, error) {
	f, err := bodyFormat(c.r)
	if err != nil {
		return nil, err
	}
	d := decoder{kind: schema.GroupVersionKind{Group: c.row.Group, Version: c.version.Name, Kind: "DeleteOptions"},
		new: func() runtime.Object { return &metav1.DeleteOptions{} }}
	obj, kind, _, err := d.decode(body, f, false)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o, ok := obj.(*metav1.DeleteOptions)
	if !ok {
		return nil, apierrors.NewBadRequest(runtime.NewNotRegisteredErrForKind(schemeName, *kind).Error())
	}
	return o, nil
}

// removal is what came of a delete.
type removal struct {
	obj     registry.Object // as it was last, or as it is now; of a dry run, as it would be
	removed bool
}

// remove deletes one object of the call's resource in the compare-and-swap loop: preconditions, admission, grace
// period, propagation and finalizers decide whether it goes at once or is marked.
func (c *call) remove(ctx context.Context, key store.Key, o *metav1.DeleteOptions) (removal, error) {
	var out removal
	var written bool // the mark
	decide := func(current *store.Entry) (store.Outcome, error) {
		if current == nil {
			return store.Outcome{}, apierrors.NewNotFound(c.row.GroupResource(), key.Name)
		}
		old, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		if err := c.mayDelete(ctx, old, key, o); err != nil {
			return store.Outcome{}, err
		}
		out.obj, out.removed = c.marked(old, o)
		written = out.obj != old
		switch {
		case written:
			return store.Outcome{Put: out.obj, TTL: c.row.Life(out.obj)}, nil
		case out.removed:
			return store.Outcome{Delete: true}, nil
		}
		return store.Outcome{}, nil
	}
	if c.dryRun {
		current, err := c.store().Get(ctx, key, "")
		if err == nil {
			_, err = decide(current)
		}
		return out, err
	}
	entry, err := c.store().Update(ctx, key, decide)
	if err != nil {
		return removal{}, err
	}
	if out.removed && written {
		// Watchers have seen that it goes; now it is gone, if somebody else was not faster.
		gone, err := c.store().Update(ctx, key, func(*store.Entry) (store.Outcome, error) { return store.Outcome{Delete: true}, nil })
		switch {
		case err == nil:
			entry = gone
		case !apierrors.IsNotFound(err):
			return removal{}, err
		}
	}
	if out.obj, err = entry.Object(); err == nil && out.removed && c.row.Deleted != nil {
		c.row.Deleted(ctx, c.write("delete"), out.obj)
	}
	return out, err
}

// deleteOther deletes an object of any resource on behalf of a hook.
func (c *call) deleteOther(ctx context.Context, row *registry.Resource, key store.Key, o *metav1.DeleteOptions) error {
	request := *c.Request
	request.row, request.version, request.sub = row, row.Hub(), nil
	request.Namespace, request.Name, request.Subresource = key.Namespace, key.Name, ""
	other := *c
	other.Request, other.dryRun, other.unasked = &request, len(o.DryRun) > 0, true
	_, err := other.remove(ctx, key, o)
	return err
}

// mayDelete checks preconditions and asks admission, which is told the name in the URL: none, if a collection is deleted.
func (c *call) mayDelete(ctx context.Context, old registry.Object, key store.Key, o *metav1.DeleteOptions) error {
	if err := c.checkDeletePreconditions(old, key, o.Preconditions); err != nil {
		return err
	}
	if c.unasked {
		return nil
	}
	a := c.attributes(admission.Delete, nil, old, o)
	if err := c.s.admission.Mutate(ctx, a); err != nil {
		return err
	}
	return c.s.admission.Validate(ctx, a)
}

// checkDeletePreconditions compares the identity and revision that a DELETE names with those of the object. Namespaces,
// which are marked before they are deleted, word it otherwise.
func (c *call) checkDeletePreconditions(old registry.Object, key store.Key, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	kind := schema.GroupResource{Group: c.row.GroupKind().Group, Resource: c.row.Kind}
	uid := "the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated"
	revision := "the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified"
	if c.row.MarkFirst {
		kind = c.row.GroupResource()
		uid = "Precondition failed: UID in precondition: %s, UID in object meta: %s"
		revision = "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s"
	}
	if p.UID != nil && *p.UID != old.GetUID() {
		return apierrors.NewConflict(kind, key.Name, fmt.Errorf(uid, *p.UID, old.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
		return apierrors.NewConflict(kind, key.Name, fmt.Errorf(revision, *p.ResourceVersion, old.GetResourceVersion()))
	}
	return nil
}

// marked is what a delete makes of an object: old itself if nothing changes, else a copy that says when and how it is to
// go. removed says that nothing holds it. A kind with grace periods is marked even if it goes at once.
func (c *call) marked(old registry.Object, o *metav1.DeleteOptions) (_ registry.Object, removed bool) {
	obj := old.DeepCopyObject().(registry.Object)
	graceful, pending := c.beGraceful(obj, o)
	holds, first := c.row.Holds != nil && c.row.Holds(obj), old.GetDeletionTimestamp() == nil
	if pending || c.row.MarkFirst && !first && holds {
		return old, false
	}
	finalizers := wantedFinalizers(c.row, old, o)
	obj.SetFinalizers(finalizers)
	held := len(finalizers) > 0 || holds || c.row.MarkFirst && first
	switch {
	case graceful:
		return obj, !held && *obj.GetDeletionGracePeriodSeconds() == 0
	case held:
		c.markNow(obj)
		return obj, false
	}
	return old, true
}

// beGraceful starts or shortens an object's grace period. pending means that one runs already and stays as it is: then
// finalizers stay as well.
func (c *call) beGraceful(obj registry.Object, o *metav1.DeleteOptions) (graceful, pending bool) {
	if c.row.GracePeriod == nil {
		return false, false
	}
	asked := o.GracePeriodSeconds
	if asked != nil && *asked < 0 {
		asked = new(int64(1))
	}
	if obj.GetDeletionTimestamp() != nil {
		return c.shorten(obj, asked)
	}
	grace := c.row.GracePeriod(obj, asked)
	at := metav1.NewTime(c.now.Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if c.row.MarkDeleting != nil {
		c.row.MarkDeleting(obj)
	}
	return true, false
}

// shorten ends a running grace period sooner, if that is asked for. It does not end in the past; who asked for some time
// and comes too late leaves a second to whoever ends what runs.
func (c *call) shorten(obj registry.Object, asked *int64) (graceful, pending bool) {
	running := obj.GetDeletionGracePeriodSeconds()
	if running == nil || *running == 0 {
		return false, false // a delete that was interrupted: finish it
	}
	if asked == nil || *asked >= *running {
		return false, true
	}
	period := *asked
	at := metav1.NewTime(obj.GetDeletionTimestamp().Add(time.Duration(period-*running) * time.Second))
	if now := metav1.NewTime(c.now.Truncate(time.Second)); at.Before(&now) {
		at = now
		if period != 0 {
			period = 1
		}
	}
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&period)
	return true, false
}

// markNow marks an object that only its finalizers hold. To be marked first is no change of what is wanted, and says
// nothing of a grace period.
func (c *call) markNow(obj registry.Object) {
	marksFirst := c.row.MarkFirst && obj.GetDeletionTimestamp() == nil
	if obj.GetDeletionTimestamp() == nil && obj.GetGeneration() > 0 && !marksFirst {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if at := obj.GetDeletionTimestamp(); at == nil || at.After(c.now) {
		now := metav1.NewTime(c.now.Truncate(time.Second))
		obj.SetDeletionTimestamp(&now)
	}
	if !marksFirst {
		var zero int64
		obj.SetDeletionGracePeriodSeconds(&zero)
	}
	if c.row.MarkDeleting != nil {
		c.row.MarkDeleting(obj)
	}
}

// wantedFinalizers are the object's finalizers with those of garbage collection as the options want them.
func wantedFinalizers(row *registry.Resource, obj registry.Object, o *metav1.DeleteOptions) []string {
	have := obj.GetFinalizers()
	orphan, foreground := propagation(row, have, o)
	want := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		want = append(want, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		want = append(want, metav1.FinalizerDeleteDependents)
	}
	if len(want) == len(have) && !slices.ContainsFunc(want, func(f string) bool { return !slices.Contains(have, f) }) {
		return have
	}
	return want
}

// propagation decides what becomes of an object's dependents: what the options say, else what its finalizers say,
// else what the resource does by default.
func propagation(row *registry.Resource, finalizers []string, o *metav1.DeleteOptions) (orphan, foreground bool) {
	switch {
	case row.NoDependents:
		return false, false
	case o.OrphanDependents != nil:
		return *o.OrphanDependents, false
	case o.PropagationPolicy != nil:
		return *o.PropagationPolicy == metav1.DeletePropagationOrphan, *o.PropagationPolicy == metav1.DeletePropagationForeground
	}
	orphan = slices.Contains(finalizers, metav1.FinalizerOrphanDependents)
	foreground = slices.Contains(finalizers, metav1.FinalizerDeleteDependents)
	if !orphan && !foreground {
		orphan = row.OrphanByDefault
	}
	return orphan, foreground
}
