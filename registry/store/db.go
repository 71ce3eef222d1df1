package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// DB is a connection to etcd and the one watch that feeds the caches of all stores opened from it.
type DB struct{}

// Options say where the objects are.
type Options struct {
	Client *clientv3.Client // of an external cluster, or in process
	Root   string           // "/registry"
	// Revision returns etcd's current revision without a round trip (embedded etcd); nil asks the client.
	Revision func() int64
}

func New(ctx context.Context, o Options) (*DB, error) { panic("") }
func (db *DB) Close() error                           { panic("") }
func (db *DB) Open(c Config) *Store                   { panic("") }

// Store keeps the objects of one resource.
type Store struct{}

// Entry is one revision of one object; it never changes.
type Entry struct {
	Key
	Revision Revision
}

// Object is the decoded object with its resourceVersion. It is shared: never change it.
func (e *Entry) Object() (Object, error) { panic("") }

// Proto is the object's protobuf message with its resourceVersion, without envelope; nil for resources stored as JSON.
func (e *Entry) Proto() []byte { panic("") }

// Memo returns what make made of the entry, which is kept under slot as long as the entry is.
func (e *Entry) Memo(slot int, make func(*Entry) ([]byte, error)) ([]byte, error) { panic("") }

// Block is a run of neighbours in key order.
type Block struct{ Entries []*Entry }

// Memo returns what make made of the block, which is kept under slot until one of the block's objects changes.
// Blocks cut short by a selection keep nothing.
func (b Block) Memo(slot int, make func([]*Entry) ([]byte, error)) ([]byte, error) { panic("") }

// Selection is what a LIST or watch wants to see; the zero value is everything.
type Selection struct {
	Namespace string
	Name      string
	Labels    labels.Selector // nil selects everything
	Fields    fields.Selector // on Config.Fields, metadata.name and metadata.namespace; nil selects everything
}

type ListOptions struct {
	Selection
	ResourceVersion string
	Match           metav1.ResourceVersionMatch
	Limit           int64
	Continue        string
}

// List is an answer: the objects in key order as blocks, at one revision.
type List struct {
	Revision  Revision
	Continue  string
	Remaining *int64
	Blocks    []Block
}

// Outcome is what an update decides: the zero value leaves the object as it is.
type Outcome struct {
	Put    Object        // store this
	TTL    time.Duration // with Put: the object's life; zero is for ever
	Delete bool          // remove the object
}

func (s *Store) Get(ctx context.Context, k Key, resourceVersion string) (*Entry, error) { panic("") }
func (s *Store) List(ctx context.Context, o ListOptions) (*List, error)                 { panic("") }
func (s *Store) Watch(ctx context.Context, o WatchOptions) (*Watcher, error)            { panic("") }
func (s *Store) Create(ctx context.Context, k Key, o Object, ttl time.Duration) (*Entry, error) {
	panic("")
}

// Update decides on the current object (nil: there is none) and writes the outcome, again and again until no other
// write came in between. It returns the entry after the write; after a Delete the removed one under the delete's revision.
func (s *Store) Update(ctx context.Context, k Key, decide func(current *Entry) (Outcome, error)) (*Entry, error) {
	panic("")
}

type WatchOptions struct {
	Selection
	ResourceVersion   string
	Match             metav1.ResourceVersionMatch
	SendInitialEvents *bool
	AllowBookmarks    bool
	Deadline          time.Time // when the caller will end the watch; a bookmark is due 2 s before
}

// Watcher is a cursor into the resource's ring of events.
type Watcher struct{}

// Event is what a watcher sees. Bookmarks have a Revision and no Entry.
type Event struct {
	Type     watch.EventType
	Entry    *Entry // for DELETED: the last state under the delete's revision
	Revision Revision
	// InitialEventsEnd marks the bookmark that ends the initial events.
	InitialEventsEnd bool
}

// Next appends the events that are due to buf, waiting until there is one. It fails with a *errors.StatusError (410
// Expired when the watcher fell behind the ring), or with ctx's error.
func (w *Watcher) Next(ctx context.Context, buf []Event) ([]Event, error) { panic("") }

// Close frees what the watcher holds.
func (w *Watcher) Close() { panic("") }
