package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// create stores a new object, or hands a body to a sub-resource that takes one (binding, eviction, token).
func (c *call) create() error {
	// 1. How is the answer wanted, and how is the request meant?
	if err := c.negotiateForm(); err != nil {
		return err
	}
	o, err := createOptions(c.r.URL.Query())
	if err != nil {
		return err
	}
	c.begin(o.DryRun, o.FieldManager, o.FieldValidation)
	// 2. Read and decode the body.
	body, err := readBody(c.r)
	if err != nil {
		return err
	}
	obj, err := c.decodeBody(body, c.creationDecoder(), c.alsoKinds())
	if err != nil {
		return err
	}
	if c.sub != nil || c.row.Answer != nil {
		return c.answer(obj, o)
	}
	// 3. Default, normalize, wipe what only the system sets.
	obj = c.toHub(obj)
	c.complete(obj)
	c.noteHub(obj)
	if err := c.checkNamespace(obj); err != nil {
		return err
	}
	wipeSystemFields(obj)
	// 4. Store it, under a generated name where that is asked for.
	entry, obj, err := c.insert(c.ctx(), obj, o)
	if err != nil {
		return err
	}
	// 5. Answer with what was stored.
	if entry == nil {
		return c.writeHub(http.StatusCreated, obj)
	}
	c.written()
	return c.writeEntry(http.StatusCreated, entry)
}

// creationDecoder reads what may be posted here: the resource's kind, or the one that the sub-resource takes.
func (c *call) creationDecoder() decoder {
	if c.sub == nil {
		return c.decoder()
	}
	return decoder{kind: c.sub.Kind, new: func() runtime.Object { return c.sub.New() }}
}

func (c *call) alsoKinds() []schema.GroupVersionKind {
	if c.sub == nil {
		return nil
	}
	return c.sub.AlsoKinds
}

// answer serves what is created but not stored: the body goes through admission to the row's or sub-resource's own
// function, and the client gets what that returns.
func (c *call) answer(obj registry.Object, o *metav1.CreateOptions) error {
	w := c.write("create")
	var err error
	returned := c.sub == nil
	if c.sub != nil && c.sub.Complete != nil {
		c.sub.Complete(obj)
		returned = true
	}
	c.noteSent(obj)
	if err := c.checkNamespace(obj); err != nil {
		return err
	}
	if returned {
		if obj, err = c.manage(nil, obj); err != nil {
			return err
		}
	}
	attributes := c.attributes(admission.Create, obj, nil, o)
	if err := c.s.admission.Mutate(c.ctx(), attributes); err != nil {
		return err
	}
	if err := c.s.admission.Validate(c.ctx(), attributes); err != nil {
		return err
	}
	var out runtime.Object
	if c.sub != nil {
		out, err = c.sub.Create(c.ctx(), w, c.Name, obj)
	} else {
		c.row.Complete(obj)
		out, err = c.row.Answer(c.ctx(), w, obj)
	}
	if err != nil {
		return err
	}
	if out == nil {
		out = &metav1.Status{Status: metav1.StatusSuccess}
	}
	if s, ok := out.(*metav1.Status); ok {
		s.TypeMeta = statusType()
		if s.Code == 0 {
			s.Code = http.StatusCreated
		}
	}
	typ := metav1.TypeMeta{}
	typ.APIVersion, typ.Kind = out.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	writeObject(c.w, c.r, http.StatusCreated, c.form, typ, out)
	return nil
}

// insert takes a complete object through admission, preparation and validation into the store. A dry run returns the
// object without an entry.
func (c *call) insert(ctx context.Context, obj registry.Object, o runtime.Object) (*store.Entry, registry.Object, error) {
	w := c.write("create")
	// 1. Whose are its fields? Then let admission change it.
	obj, err := c.manage(nil, obj)
	if err != nil {
		return nil, nil, err
	}
	attributes := c.attributes(admission.Create, obj, nil, o)
	if err := c.mutate(ctx, attributes); err != nil {
		return nil, nil, err
	}
	if err := w.Permit(ctx, c.sub, obj, nil); err != nil {
		return nil, nil, err
	}
	// 2. Store it; a generated name that exists is generated again.
	for try := 1; ; try++ {
		fresh := obj
		generated := obj.GetName() == "" && obj.GetGenerateName() != ""
		if generated {
			fresh = obj.DeepCopyObject().(registry.Object)
			fresh.SetName(generateName(obj.GetGenerateName()))
		}
		entry, err := c.insertNamed(ctx, w, fresh, attributes)
		if err == nil || !generated || !apierrors.IsAlreadyExists(err) || try == generateTries {
			return entry, fresh, generateNameError(err, generated, obj.GetGenerateName(), c.row)
		}
	}
}

// insertNamed is one try to store an object under its name.
func (c *call) insertNamed(ctx context.Context, w *registry.Write, obj registry.Object, a *admission.Attributes) (*store.Entry, error) {
	w.FillSystemFields(obj)
	// Side effects come before preparation and validation, which see what they filled in.
	finish, err := w.Begin(ctx, obj, nil)
	if err != nil {
		return nil, err
	}
	stored := false
	defer func() { finish(stored) }()
	if err := w.SettleNew(obj); err != nil {
		return nil, err
	}
	a.Object, a.Name = obj, obj.GetName()
	if err := c.s.admission.Validate(ctx, a); err != nil {
		return nil, err
	}
	c.row.ToStored(obj)
	key := store.Key{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if c.dryRun {
		if err := c.mustNotExist(ctx, key); err != nil {
			return nil, err
		}
		return nil, c.store().Rehearse(obj)
	}
	if v := obj.GetResourceVersion(); v != "" && v != "0" {
		return nil, plain(http.StatusInternalServerError, "", "resourceVersion should not be set on objects to be created")
	}
	entry, err := c.store().Create(ctx, key, obj, c.row.Life(obj))
	if apierrors.IsAlreadyExists(err) {
		return nil, c.existsError(ctx, key, err)
	}
	stored = err == nil
	return entry, err
}

// mustNotExist is what a dry run of a create learns from the store.
func (c *call) mustNotExist(ctx context.Context, key store.Key) error {
	entry, err := c.store().Get(ctx, key, "")
	switch {
	case err == nil:
		return c.existsBeside(entry, apierrors.NewAlreadyExists(c.row.GroupResource(), key.Name))
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

// existsError says more about a collision where the object in the way is about to go.
func (c *call) existsError(ctx context.Context, key store.Key, exists error) error {
	entry, err := c.store().Get(ctx, key, "")
	if err != nil {
		return exists
	}
	return c.existsBeside(entry, exists)
}

func (c *call) existsBeside(entry *store.Entry, exists error) error {
	obj, err := entry.Object()
	var status *apierrors.StatusError
	if err != nil || obj.GetDeletionTimestamp() == nil {
		return exists
	}
	status = apierrors.NewAlreadyExists(c.row.GroupResource(), entry.Name)
	status.ErrStatus.Message = "object is being deleted: " + status.ErrStatus.Message
	return status
}

// checkNamespace brings a body's namespace in line with that of the URL. What old clients say of the namespace of an
// object that is in none, is forgotten.
func (c *call) checkNamespace(obj registry.Object) error {
	if !c.row.Namespaced {
		obj.SetNamespace("")
		return nil
	}
	switch obj.GetNamespace() {
	case "":
		obj.SetNamespace(c.Namespace)
	case c.Namespace:
	default:
		return badRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// wipeSystemFields clears what a client may not say of a new object.
func wipeSystemFields(obj registry.Object) {
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetUID("")
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

// dedupOwners drops owner references that say the same twice, with a warning, which may say since when.
func (c *call) dedupOwners(obj registry.Object, since string) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	kept := refs[:0:0]
	var twice []string
	for _, r := range refs {
		if slices.ContainsFunc(kept, func(k metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(k, r) }) {
			twice = append(twice, string(r.UID))
			continue
		}
		kept = append(kept, r)
	}
	if len(twice) > 0 {
		obj.SetOwnerReferences(kept)
		c.warn(".metadata.ownerReferences contains duplicate entries" + since + "; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: " +
			strings.Join(twice, ", "))
	}
}

// mutate lets admission change the object, and brings it back in order. Of what a patch came to, nobody can say whether
// it was admission.
func (c *call) mutate(ctx context.Context, a *admission.Attributes) error {
	if c.patching == "" {
		c.dedupOwners(a.Object, "")
	}
	if err := c.s.admission.Mutate(ctx, a); err != nil {
		return err
	}
	if c.row.Normalize != nil {
		c.row.Normalize(a.Object)
	}
	c.dedupOwners(a.Object, " after mutating admission happens")
	return nil
}

// attributes is what admission may know of a write.
func (c *call) attributes(op admission.Operation, obj, old registry.Object, options runtime.Object) *admission.Attributes {
	a := &admission.Attributes{
		Operation: op, Resource: schema.GroupVersionResource{Group: c.Group, Version: c.Version, Resource: c.Plural},
		Kind: c.kind(), Subresource: c.Subresource, Namespace: c.Namespace, Name: c.Name,
		Object: obj, Old: old, Options: options, DryRun: c.dryRun, User: c.user, Warn: c.warn, Annotate: c.annotate,
	}
	if c.sub != nil && c.sub.Kind.Kind != "" {
		a.Kind = c.sub.Kind
	}
	return a
}
