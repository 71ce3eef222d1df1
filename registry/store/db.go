package store

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DB is a connection to etcd and the one watch that feeds the caches of all stores opened from it.
type DB struct {
	client   *clientv3.Client
	root     string // with a slash at its end
	revision func() int64
	log      *slog.Logger
	cipher   func(schema.GroupResource) Cipher

	applied   applied // how far the stream has brought the caches
	waiters   waiters
	newest    newest
	leases    leases
	history   history
	compactor compactor
	connected atomic.Bool // the stream is open

	mu     sync.RWMutex // guards stores
	stores map[string]*Store

	ctx    context.Context // ends with Close
	done   <-chan struct{} // the same
	cancel context.CancelFunc
	tasks  sync.WaitGroup // all goroutines of the DB
}

// Options say where the objects are.
type Options struct {
	Client *clientv3.Client // of an external cluster, or in process
	Root   string           // "/registry"
	// Revision returns etcd's current revision without a round trip (embedded etcd); nil asks the client.
	Revision func() int64
	// Log gets what an operator should know; nil is slog's default.
	Log *slog.Logger
	// Cipher seals the values of a resource; nil, or a nil Cipher, stores them in plain.
	Cipher func(schema.GroupResource) Cipher
	// HistoryBytes bounds the memory of past changes, all resources together; 0 is as much as the present takes, but
	// at least 24 MB and at most 100.
	HistoryBytes int
	// CompactEvery is the interval of etcd's compaction; 0 is five minutes, a negative one leaves it to others.
	CompactEvery time.Duration
	// CompactBytes compacts also after so many bytes were written; 0 is 32 MB for an etcd in process, else never.
	CompactBytes int64
}

func (o *Options) complete() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.CompactEvery == 0 {
		o.CompactEvery = compactEvery
	}
	if o.CompactBytes == 0 && o.Revision != nil {
		o.CompactBytes = compactBytes
	}
}

// New connects to etcd and starts to follow it. ctx bounds the first contact only; Close ends the DB. The client stays
// the caller's.
func New(ctx context.Context, o Options) (*DB, error) {
	o.complete()
	db := &DB{
		client: o.Client, root: strings.TrimSuffix(path.Join("/", o.Root), "/") + "/", revision: o.Revision, log: o.Log, cipher: o.Cipher,
		stores: map[string]*Store{}, history: history{fixed: o.HistoryBytes},
	}
	db.ctx, db.cancel = context.WithCancel(context.Background())
	db.done = db.ctx.Done()
	db.waiters.asked = make(chan struct{}, 1)
	db.leases.client = o.Client

	revision, err := db.ask(ctx)
	if err != nil {
		db.cancel()
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	db.applied.store(revision)
	db.tasks.Go(db.follow)
	db.tasks.Go(db.hurry)
	db.tasks.Go(db.keepHistory)
	if o.Cipher != nil {
		db.tasks.Go(db.mend)
	}
	if o.CompactEvery >= 0 {
		db.tasks.Go(func() { db.compact(o.CompactEvery, o.CompactBytes) })
	}
	return db, nil
}

// Close ends all watches and waits for everything that the DB has started.
func (db *DB) Close() error {
	db.cancel()
	db.tasks.Wait()
	return nil
}

// Open returns the store of a resource. Its cache is filled when it is first used. A store that was open under the same
// prefix is dropped: a custom resource's definition has changed.
func (db *DB) Open(c Config) *Store {
	s := newStore(db, c)
	db.mu.Lock()
	old := db.stores[c.Prefix]
	db.stores[c.Prefix] = s
	db.mu.Unlock()
	if old != nil {
		old.drop()
	}
	return s
}

// Drop forgets a store, the resource of which is no longer served. Its watchers end with 410, its readers with 503.
func (db *DB) Drop(s *Store) {
	db.mu.Lock()
	if db.stores[s.Prefix] == s {
		delete(db.stores, s.Prefix)
	}
	db.mu.Unlock()
	s.drop()
}

// storeOf returns the store of a key in etcd, or nil. A prefix is one segment ("pods") or two ("services/specs").
func (db *DB) storeOf(key []byte) *Store {
	below := string(key[min(len(db.root), len(key)):])
	one := strings.IndexByte(below, '/')
	if one < 0 {
		return nil
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if two := strings.IndexByte(below[one+1:], '/'); two >= 0 {
		if s := db.stores[below[:one+1+two]]; s != nil {
			return s
		}
	}
	return db.stores[below[:one]]
}

// all returns the open stores.
func (db *DB) all() []*Store {
	db.mu.RLock()
	defer db.mu.RUnlock()
	stores := make([]*Store, 0, len(db.stores))
	for _, s := range db.stores {
		stores = append(stores, s)
	}
	return stores
}

// pause waits for d; it reports false when the DB is being closed.
func (db *DB) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-db.done:
		return false
	}
}
