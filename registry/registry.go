package registry

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
)

// Registry is the table at run time: the rows that are served now, and the store of each. Readers take no lock.
// The exported fields are set before the first request and not changed afterwards.
type Registry struct {
	Network Network // where addresses and ports of Services come from
	Kubelet Kubelet // how nodes are reached
	// Authorizer and Authenticator answer access and token reviews, and say who may read a policy's parameters.
	// Nobody is asked if they are nil: then everything is allowed, and no token is known.
	Authorizer    Authorizer
	Authenticator TokenAuthenticator
	Roles         RoleRules   // what users have, and therefore may grant; set if Authorizer is
	Tokens        TokenIssuer // signs service account tokens; nil refuses to
	// Parts are where other parts of the control plane say how they are: URLs by the names of component statuses.
	Parts map[string]string
	// ForbidPrivileged refuses privileged containers.
	ForbidPrivileged bool
	// Manage attributes the fields in which obj differs from old (nil when it is new) to a field manager, for the
	// server's own writes; nil leaves managedFields as they are.
	Manage func(w *Write, obj, old Object, manager string) (Object, error)
	// Apply merges a configuration into live, which it may change, by the rules of server-side apply and by force, for
	// the server's own writes.
	Apply func(w *Write, live Object, config map[string]any, manager string) (Object, error)

	expressions expressionCompilers
	ports       func() *store.Store // the node ports in use

	db  *store.DB
	mu  sync.Mutex // orders Install and Remove
	now atomic.Pointer[snapshot]
}

// snapshot is the table at one moment; it is never changed.
type snapshot struct {
	rows   []*Resource
	byName map[schema.GroupResource]*Resource
	stores map[schema.GroupResource]*store.Store
}

// New returns a registry of the rows, whose objects are kept in db.
func New(db *store.DB, rows []*Resource) *Registry {
	r := &Registry{Network: DefaultNetwork(), Parts: defaultParts(), db: db}
	r.ports = sync.OnceValue(func() *store.Store { return db.Open(portRanges()) })
	r.now.Store(&snapshot{})
	r.Install(rows...)
	return r
}

// Install adds rows, or replaces those of the same group and plural.
func (r *Registry) Install(rows ...*Resource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.now.Load()
	s := &snapshot{rows: slices.Clone(old.rows), byName: maps.Clone(old.byName), stores: maps.Clone(old.stores)}
	if s.byName == nil {
		s.byName, s.stores = map[schema.GroupResource]*Resource{}, map[schema.GroupResource]*store.Store{}
	}
	for _, row := range rows {
		gr := row.GroupResource()
		switch i := slices.Index(s.rows, s.byName[gr]); {
		case i >= 0:
			s.rows[i] = row
		case !row.Hidden:
			s.rows = append(s.rows, row)
		}
		s.byName[gr] = row
		s.number(row)
		if row.Prefix != "" {
			s.stores[gr] = r.open(s, row)
		}
	}
	r.now.Store(s)
}

// number gives the row's versions their slots: those that rows with the same store have not taken.
func (s *snapshot) number(row *Resource) {
	next := 0
	for _, other := range s.rows {
		if other != row && other.Prefix == row.Prefix {
			next += len(other.Versions)
		}
	}
	for i := range row.Versions {
		row.Versions[i].Slot = next + i
	}
}

// open returns the store of a row: that of the row which keeps its objects under the same prefix, else a new one.
func (r *Registry) open(s *snapshot, row *Resource) *store.Store {
	for _, other := range s.rows {
		if other != row && other.Prefix == row.Prefix && s.stores[other.GroupResource()] != nil {
			return s.stores[other.GroupResource()]
		}
	}
	config := row.storage()
	config.Complete = func(o Object) { row.today(r, o) }
	if row.DB != nil {
		return row.DB.Open(config)
	}
	return r.db.Open(config)
}

// Remove takes a row out of the table. Its objects stay in etcd.
func (r *Registry) Remove(gr schema.GroupResource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.now.Load()
	s := &snapshot{byName: maps.Clone(old.byName), stores: maps.Clone(old.stores)}
	s.rows = slices.DeleteFunc(slices.Clone(old.rows), func(row *Resource) bool { return row.GroupResource() == gr })
	delete(s.byName, gr)
	delete(s.stores, gr)
	r.now.Store(s)
	if st := old.stores[gr]; st != nil && !slices.Contains(slices.Collect(maps.Values(s.stores)), st) {
		r.db.Drop(st)
	}
}

// Rows are the resources served now, in the table's order. Callers do not change the slice.
func (r *Registry) Rows() []*Resource { return r.now.Load().rows }

// Lookup finds the row and version of a URL's group, version and plural; both are nil if there is none.
func (r *Registry) Lookup(group, version, plural string) (*Resource, *Version) {
	row := r.Resource(group, plural)
	if row == nil || row.Hidden {
		return nil, nil
	}
	for i := range row.Versions {
		if row.Versions[i].Name == version {
			return row, &row.Versions[i]
		}
	}
	return nil, nil
}

// Resource finds a row by group and plural, be it hidden; nil if there is none.
func (r *Registry) Resource(group, plural string) *Resource {
	return r.now.Load().byName[schema.GroupResource{Group: group, Resource: plural}]
}

// Find finds a row by a name that people use: the plural, the singular or a short name, and, unless it is empty, the group.
// Nil if there is none.
func (r *Registry) Find(name, group string) *Resource {
	for _, row := range r.Rows() {
		if (group == "" || row.Group == group) && (row.Plural == name || row.Singular == name || slices.Contains(row.ShortNames, name)) {
			return row
		}
	}
	return nil
}

// Store returns where the objects of a resource are kept; nil if they are not kept or the resource is unknown.
func (r *Registry) Store(group, plural string) *store.Store {
	return r.now.Load().stores[schema.GroupResource{Group: group, Resource: plural}]
}

// storage is what the store has to know of the row.
func (r *Resource) storage() store.Config {
	return store.Config{
		Resource: r.GroupResource(), Kind: r.StoredKind(), Prefix: r.Prefix, Namespaced: r.Namespaced, JSON: r.StoredJSON,
		New: r.New, Older: r.Older, Stored: r.Stored, Bare: r.Bare, Restore: r.Restore, Fields: r.Fields, Uncached: r.Uncached, Governs: r.Governs,
	}
}

// StoredKind is the kind that the stored envelope names.
func (r *Resource) StoredKind() schema.GroupVersionKind {
	if r.StoredVersion != "" {
		return r.GroupKind().WithVersion(r.StoredVersion)
	}
	return r.HubKind()
}

// Hub is the version in which objects are kept in memory and etcd: the one that needs no conversion.
func (r *Resource) Hub() *Version {
	for i := range r.Versions {
		if r.Versions[i].ToHub == nil {
			return &r.Versions[i]
		}
	}
	return &r.Versions[0]
}

// today brings an object read from etcd to today's form.
func (r *Resource) today(reg *Registry, o Object) {
	r.Complete(o)
	if r.Repair != nil {
		r.Repair(reg, o)
	}
}
