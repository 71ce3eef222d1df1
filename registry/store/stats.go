package store

import (
	"context"
	"errors"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// counters are a store's.
type counters struct {
	events, lists, watches atomic.Int64
}

// Stats are a store's figures for metrics.
type Stats struct {
	Resource schema.GroupResource
	Filled   bool     // the cache has been read from etcd
	Objects  int      // in the cache
	Bytes    int      // of their encodings
	Revision Revision // that the cache has reached
	Events   int64    // that the stream has brought, ever
	Lists    int64    // answered, ever
	Watches  int64    // open
	History  int      // bytes that past changes hold
}

// Stats returns the figures of all open stores.
func (db *DB) Stats() []Stats {
	var all []Stats
	for _, s := range db.all() {
		p, r := s.view()
		st := Stats{
			Resource: s.Resource, Filled: p != nil, Revision: r, History: s.ring.size(),
			Events: s.stats.events.Load(), Lists: s.stats.lists.Load(), Watches: s.stats.watches.Load(),
		}
		if p != nil {
			st.Objects, st.Bytes = p.root.size(), p.bytes
		}
		all = append(all, st)
	}
	return all
}

// Size returns the bytes of etcd's database file and of what is in use in it.
func (db *DB) Size(ctx context.Context) (file, used int64, err error) {
	endpoint := ""
	if endpoints := db.client.Endpoints(); len(endpoints) > 0 {
		endpoint = endpoints[0]
	}
	status, err := db.client.Status(ctx, endpoint)
	if err != nil {
		return 0, 0, err
	}
	return status.DbSize, status.DbSizeInUse, nil
}

// Healthy asks etcd for a consistent read; ctx bounds it.
func (db *DB) Healthy(ctx context.Context) error {
	_, err := db.ask(ctx)
	return err
}

// Ready reports whether changes in etcd reach the caches.
func (db *DB) Ready() error {
	if !db.connected.Load() {
		return errors.New("the watch on etcd is not open")
	}
	return nil
}
