package server

import (
	"context"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
)

// call is a request to a resource on its way through a verb.
type call struct {
	*Request
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	user registry.User
	now  time.Time
	form Form // of the answer

	// Of writes:
	patching        types.PatchType // of patches
	fieldManager    string          // as the client names it; may be empty
	fieldValidation string
	dryRun          bool
	unasked         bool // made by a hook: admission was asked about the request that it serves
	warnings        warnings
}

// kind is the kind in the version of the URL.
func (c *call) kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: c.row.Group, Version: c.version.Name, Kind: c.row.Kind}
}

// hubKind is the kind in the version in which objects are kept.
func (c *call) hubKind() schema.GroupVersionKind {
	return c.row.HubKind()
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) store() *store.Store { return c.s.registry.Store(c.row.Group, c.row.Plural) }

func (c *call) key() store.Key {
	if !c.row.Namespaced {
		return store.Key{Name: c.Name}
	}
	return store.Key{Namespace: c.Namespace, Name: c.Name}
}

// decoder reads bodies of the resource's kind in the version of the URL.
func (c *call) decoder() decoder {
	d := decoder{kind: c.kind(), new: func() runtime.Object { return c.version.New() }}
	if c.version.ToHub == nil {
		d.accept = c.row.Accept
	}
	return d
}

// toHub converts an object from the version of the URL to the one in which it is kept.
func (c *call) toHub(o registry.Object) registry.Object {
	if c.version.ToHub == nil {
		return o
	}
	if c.version.Default != nil {
		c.version.Default(o)
	}
	hub := c.version.ToHub(o)
	hub.GetObjectKind().SetGroupVersionKind(c.row.New().GetObjectKind().GroupVersionKind())
	return hub
}

// fromHub converts an object to the version of the URL. What comes in may be shared and is not changed.
func (c *call) fromHub(o registry.Object) registry.Object {
	return convertFromHub(c.row, c.version, o)
}

func convertFromHub(row *registry.Resource, v *registry.Version, hub registry.Object) registry.Object {
	if v.FromHub == nil {
		return hub
	}
	o := v.FromHub(hub)
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: row.Group, Version: v.Name, Kind: row.Kind})
	return o
}

// convertToHub is the object in the hub version as it is, without defaults.
func convertToHub(v *registry.Version, o registry.Object) registry.Object {
	if v.ToHub == nil {
		return o
	}
	return v.ToHub(o)
}

// complete defaults and normalizes an object that came from outside, in the hub version. One that came in another
// version has got that version's defaults on its way.
func (c *call) complete(o registry.Object) {
	if c.row.Default != nil && c.version.ToHub == nil {
		c.row.Default(o)
	}
	if c.row.Normalize != nil {
		c.row.Normalize(o)
	}
}

// warn adds a Warning header to the answer.
func (c *call) warn(text string) { c.warnings.add(c.w.Header(), text) }

// annotate adds to the request's audit event.
func (c *call) annotate(key, value string) { askedOf(c.r).annotate(key, value) }

// write is what the row's hooks may know of this request.
func (c *call) write(verb string) *registry.Write {
	return &registry.Write{
		Registry: c.s.registry, Resource: c.row, Verb: verb, Version: c.version.Name, Subresource: c.Subresource,
		Namespace: c.Namespace, Name: c.Name, User: c.user, DryRun: c.dryRun, Now: c.now, Warn: c.warn, Annotate: c.annotate,
		Delete: c.deleteOther,
	}
}

// begin reads what all writes have in common from the request's options.
func (c *call) begin(dryRun []string, fieldManager, fieldValidation string) {
	c.dryRun = len(dryRun) > 0
	c.fieldManager = fieldManager
	c.fieldValidation = fieldValidation
	if fieldValidation == "" {
		c.fieldValidation = metav1.FieldValidationWarn
	}
}
