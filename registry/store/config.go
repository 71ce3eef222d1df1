package store

import "k8s.io/apimachinery/pkg/runtime/schema"

// Config describes the collection that a Store keeps: what of a resource's row matters below the API.
type Config struct {
	Resource   schema.GroupResource    // in errors and metrics
	Kind       schema.GroupVersionKind // in the stored envelope
	Prefix     string                  // below etcd's root: "pods", "services/specs"
	Namespaced bool
	JSON       bool // stored as JSON; else as protobuf in the k8s envelope
	Unsealed   bool // kept in plain, whatever else is sealed: no resource of the API
	// New returns a zero object.
	New func() Object
	// Complete brings an object read from etcd to today's defaults; nil means there is nothing to complete. The stream
	// waits for it: it must not read from a store.
	Complete func(Object)
	// Restore gives a decoded object what protobuf has no room for; nil means that there is nothing.
	Restore func(Object)
	// Older decodes a stored value of another version than Kind's; nil means that such a value is decoded as Kind. raw
	// is the message without its envelope, or the whole JSON.
	Older func(kind schema.GroupVersionKind, raw []byte) (Object, error)
	// Stored returns what is encoded in the object's place where the stored version has a Go type of its own (a
	// CustomResourceDefinition is stored as v1beta1). Every stored value is decoded by Older then. Nil means the object.
	Stored func(Object) Object
	// Bare returns what is written of a new object, which is without some of what Complete fills in. So its first update
	// writes, even if it changes nothing. Nil means the object.
	Bare func(Object) Object
	// Uncached tells that upstream keeps no watch cache for the resource (Events), which shows in how reads with a
	// resourceVersion are answered: limit counts with 0 too, and a future revision is refused at once.
	Uncached bool
	// Governs tells that requests are decided by these objects (roles, limits): a write is answered once the cache has
	// it, so that it holds for the writer's next request.
	Governs bool
	// Fields are the selectable fields besides metadata.name and metadata.namespace.
	Fields []Field
}

// Field is a selectable field of a resource.
type Field struct {
	Path  string // "spec.nodeName"
	Value func(Object) string
	// Indexed: watches by this field are woken only by events with the wanted value, old or new; lists by it do not look at
	// other entries.
	Indexed bool
}
