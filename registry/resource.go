package registry

import (
	"context"
	"net/http"
	"net/url"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// Object is an API object with metadata.
type Object = store.Object

// Resource is a row of the table: one resource of one group, with all in which it differs from the others.
// Hooks receive objects of the hub version. They may change what they are documented to change and nothing else;
// old is never changed and is nil when an object is created.
type Resource struct {
	Group      string   // API group; empty for core
	Plural     string   // "deployments", the name in URLs
	Singular   string   // "deployment"
	Kind       string   // "Deployment"
	ShortNames []string // "deploy"
	Categories []string // "all"
	Namespaced bool
	// CoreKind says that the objects are of a kind of the core group, whatever group serves them: events.k8s.io.
	CoreKind bool
	Verbs    []string  // in discovery's order; nil means StandardVerbs
	Versions []Version // those served, preferred first; the first is the hub unless one says otherwise

	// Prefix is the place of the objects below etcd's root, as upstream has it: "pods", "services/specs",
	// "minions". Empty for resources that are not stored (reviews).
	Prefix string
	// StoredVersion is the version in the stored envelope's apiVersion where it is not the hub's.
	StoredVersion string
	// Older decodes a stored value of another version than the envelope's (clusters of former releases).
	Older func(kind schema.GroupVersionKind, raw []byte) (Object, error)
	// Stored returns what is encoded in the object's place where the stored version has a Go type of its own; then Older
	// decodes every stored value.
	Stored func(Object) Object
	// Bare returns what is written of a new object where upstream leaves it to reads to fill in a default; nil writes all.
	Bare func(Object) Object
	// StoredJSON keeps the objects as JSON in etcd (CRDs, APIServices, custom resources), not as protobuf.
	StoredJSON bool
	// Uncached tells that upstream keeps no watch cache for the resource, which some answers to reads show (Events).
	Uncached bool
	// Governs says that other requests are decided by these objects (roles, quotas, namespaces): a write is answered
	// once it holds for every request that comes after.
	Governs bool

	// Hidden rows are not served; the server itself reads and keeps their objects all the same (roles, namespaces).
	Hidden bool

	// DB keeps the objects, where that is not the one that keeps all others.
	DB *store.DB

	// CreateOnUpdate lets PUT and apply create an object that does not exist.
	CreateOnUpdate bool
	// LossyJSON says that JSON leaves out what the stored form keeps, and that it counts: a patch takes the way through
	// JSON even where a shorter one would do.
	LossyJSON bool
	// RequireRevision refuses an update that carries no resourceVersion.
	RequireRevision bool
	// MarkFirst has a first DELETE only mark the object, whatever holds it (namespaces, definitions).
	MarkFirst bool
	// DeleteReturnsObject makes DELETE answer with the deleted object in place of a Status.
	DeleteReturnsObject bool
	// OrphanByDefault is the propagation of a DELETE that asks for none.
	OrphanByDefault bool
	// NoDependents says that nothing can depend on the objects (events): a DELETE's propagation means nothing.
	NoDependents bool
	// OrphanWarning is sent with the answer to such a DELETE.
	OrphanWarning string
	// FieldAnnotations stand for fields of former versions: the metadata that is shown alone, in tables and
	// PartialObjectMetadata, is without them.
	FieldAnnotations []string
	// Reset lists the fields ("status", "metadata.name") that writers of the main resource cannot own.
	Reset []string

	// UpdateMeta says what the kind checks of metadata when an object is updated.
	UpdateMeta MetaRules
	// PlainFinalizers allows finalizers without a qualified name.
	PlainFinalizers bool
	// UnknownField is the text of the error about a field that cannot be selected, with %s or %q for its path; empty is
	// the text of most kinds.
	UnknownField string

	// ValidateName checks metadata.name; asPrefix is true for generateName. Nil means any path segment.
	ValidateName func(name string, asPrefix bool) []string

	// Accept returns why an object cannot be read, though its JSON or protobuf could: an annotation that stands for a
	// field says something else than the field could hold. It sees objects as they came. Nil accepts all.
	Accept    func(Object) error
	New       func() Object // a zero object of the hub version
	Default   func(Object)
	Normalize func(Object)
	// Restore gives an object read from etcd what its stored form has no room for: the kind of an object within it.
	Restore func(Object)
	// Repair brings what former releases stored to today's form, after Default and Normalize.
	Repair func(*Registry, Object)
	// Prepare drops what the request may not set and fills what the server sets.
	Prepare      func(w *Write, obj, old Object)
	Validate     func(w *Write, obj, old Object) field.ErrorList
	Canonicalize func(Object)
	Warn         func(w *Write, obj, old Object) []string

	// Permit says whether the writer may write that: more is asked than the verb on the resource (what a role grants, the
	// writer has to have). It runs when admission has changed the object, before anything else is made of it; not for
	// sub-resources, nor for the server's own writes.
	Permit func(ctx context.Context, w *Write, obj, old Object) error

	// Begin makes the side effects of a create or update (addresses, ports). It runs before Prepare and Validate, which
	// see what it filled in, and after the name is generated; not for sub-resources. An update that starts over
	// finishes the former round first. finish is called once, with whether the write was stored; it undoes the
	// effects otherwise, and is told false of a dry run. finish may be nil.
	Begin func(ctx context.Context, w *Write, obj, old Object) (finish func(stored bool), err error)
	// Written runs after a request has created or changed an object, before it is answered.
	Written func(ctx context.Context, w *Write)
	// Deleted runs after an object has left the store.
	Deleted func(ctx context.Context, w *Write, obj Object)
	// Permanent tells why the object of this name cannot be deleted; empty if it can be. A deletion of collections does
	// not ask.
	Permanent func(name string) string
	// GracePeriod returns the seconds between the request to delete obj and its removal; zero removes it at once.
	// asked is the request's gracePeriodSeconds, nil if it names none.
	GracePeriod func(obj Object, asked *int64) int64
	// MarkDeleting changes an object that stays for its grace period or finalizers (a namespace's phase).
	MarkDeleting func(Object)
	// Holds reports that an object without metadata.finalizers has to stay all the same (a namespace's spec.finalizers).
	Holds func(Object) bool
	// TimeToLive bounds the object's life in the store; zero means for ever.
	TimeToLive func(obj Object) time.Duration

	Columns []metav1.TableColumnDefinition // nil means Name and Created At
	// Cells returns one value a column: string, int64, bool, nil or Age. May be asked for any stored object.
	Cells func(Object) []any
	// RowConditions marks a row (a finished pod).
	RowConditions func(Object) []metav1.TableRowCondition
	// Fields are the selectable fields besides metadata.name and metadata.namespace.
	Fields []store.Field

	// Observe lists the objects of a resource that is not stored, as they are at this moment (component statuses).
	Observe func(ctx context.Context, r *Registry) []Object
	// ListOf makes a list of the kind's own list type of observed objects.
	ListOf func([]Object) runtime.Object
	// Answer replies to a create of a resource that is not stored: reviews, bindings. No object and no error make a
	// Status of success.
	Answer func(ctx context.Context, w *Write, obj Object) (runtime.Object, error)

	Subresources []Subresource

	// dropEmpties makes empty lists and maps absent; nil where JSON is stored.
	dropEmpties func(Object)
}

// A Version is one served version of a resource.
type Version struct {
	Name string // "v1"
	New  func() Object
	// ToHub and FromHub convert; both are nil for the hub. They may share memory with their argument.
	ToHub   func(Object) Object
	FromHub func(Object) Object
	Default func(Object)
	// Cells and Columns replace the row's where the version prints otherwise.
	Columns []metav1.TableColumnDefinition
	Cells   func(Object) []any
	// Fields replaces the row's selectable fields where the version names them otherwise (paths map to the row's).
	Fields map[string]string
	// Warning is sent with every answer of a deprecated version.
	Warning string
	// Slot tells the versions apart that share a store. The Registry numbers them.
	Slot int
}

// A Subresource is another door to an object: a row of its own under the resource's name.
// Exactly one of the groups below is set.
type Subresource struct {
	Name  string // "status"; "scale"
	Verbs []string
	// Kind is the kind in discovery; the zero value means the resource's own.
	Kind schema.GroupVersionKind
	// AlsoKinds are accepted in the body beside Kind (Eviction of policy/v1beta1).
	AlsoKinds []schema.GroupVersionKind

	// Get, update and patch of the object itself, under other rules. Validate set means this group.
	Prepare  func(w *Write, obj, old Object)
	Validate func(w *Write, obj, old Object) field.ErrorList
	Warn     func(w *Write, obj, old Object) []string
	Reset    []string // fields that this door cannot own
	// UpdateMeta says what is checked of metadata through this door.
	UpdateMeta MetaRules

	// Get, update and patch of the object's Scale.
	Scale *Scale

	// Create posts a body of Kind to the named object (binding, eviction, token). New makes the body, whose metadata is
	// handed over as it came: a name that differs from the object's is Create's to refuse, a uid is a precondition.
	// No object and no error make a Status of success.
	New    func() Object
	Create func(ctx context.Context, w *Write, name string, body Object) (runtime.Object, error)
	// Complete fills in the defaults of a body that is itself the answer: its fields get an owner, as if it were stored.
	Complete func(body Object)

	// Connect streams to a node: it returns where (log, exec, attach, portforward, proxy). No location and no error
	// mean that there is nothing to stream: 204 No Content. StreamOptions reads what the request says of the stream, in
	// Connect's options and, where the stream is a connection rather than a read (log), as admission's object.
	StreamOptions func(w *Write, request *http.Request) (runtime.Object, error)
	Connect       func(ctx context.Context, w *Write, name string, request *http.Request, options runtime.Object) (*Location, error)
}

// Scale shows an object as autoscaling/v1 Scale and takes the replica count from one.
type Scale struct {
	Get func(Object) *autoscalingv1.Scale
	Set func(Object, int32)
	// ReplicasPath is the field that a Scale's spec.replicas stands for ("spec.replicas").
	ReplicasPath []string
}

// Location is where a Connect sub-resource leads to.
type Location struct {
	URL       *url.URL
	Transport http.RoundTripper
	Upgrade   bool // a stream that must be upgraded (exec, attach, portforward)
	Proxy     bool // any HTTP server: it may upgrade, and its links and redirects are made to lead through here
	Stream    bool // flush every write (log with follow)
}

// Subresource is the sub-resource of that name; nil if there is none.
func (r *Resource) Subresource(name string) *Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == name {
			return &r.Subresources[i]
		}
	}
	return nil
}

// StandardVerbs are those of most stored resources, in the order of discovery.
func StandardVerbs() []string {
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// GroupResource tells the resource from all others, in errors too.
func (r *Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Plural}
}

// GroupKind names the kind in errors.
func (r *Resource) GroupKind() schema.GroupKind {
	return r.group().WithKind(r.Kind).GroupKind()
}

// HubKind is the kind of the objects in memory.
func (r *Resource) HubKind() schema.GroupVersionKind { return r.group().WithKind(r.Kind) }

// group is the hub's group and version.
func (r *Resource) group() schema.GroupVersion {
	gv := schema.GroupVersion{Group: r.Group, Version: r.Hub().Name}
	if r.CoreKind {
		gv.Group = ""
	}
	return gv
}

// Write is what a hook may know of the request that it serves.
type Write struct {
	Registry    *Registry
	Resource    *Resource
	Verb        string // "create", "update", "delete"; a patch is the create or update that it ends in
	Version     string // the version in the URL
	Subresource string
	Namespace   string
	Name        string // in the URL: empty where a new object is posted
	User        User
	DryRun      bool
	Now         time.Time
	// Warn adds a Warning header to the answer.
	Warn func(text string)
	// Annotate adds to the request's audit event.
	Annotate func(key, value string)
	// Delete removes another object as a DELETE request would: preconditions, grace period, propagation, finalizers,
	// dry run. It asks no admission. Evictions use it.
	Delete func(ctx context.Context, row *Resource, key store.Key, options *metav1.DeleteOptions) error
}

// User is who asks, as authentication found out.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}
