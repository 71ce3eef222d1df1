package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// applied is the revision up to which the stream has told all caches everything.
type applied struct{ n atomic.Int64 }

func (a *applied) Load() Revision { return Revision(a.n.Load()) }

func (a *applied) store(r Revision) { a.n.Store(int64(r)) }

const (
	streamPause = 100 * time.Millisecond // before a broken stream is opened again
	streamBatch = 512                    // events that are applied, and wake watchers, together
)

// follow keeps the stream going until the DB is closed. A stream that broke goes on where it ended, so that nothing is
// lost; where etcd has compacted that revision there is a gap, and what lies in it is unknown.
func (db *DB) follow() {
	for db.ctx.Err() == nil {
		err := db.stream(db.applied.Load() + 1)
		db.connected.Store(false)
		if db.ctx.Err() != nil {
			return
		}
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = db.jump()
		}
		if err != nil {
			db.log.Warn("the watch on etcd broke", "err", err)
			db.pause(streamPause)
		}
	}
}

// stream opens one watch from a revision on and applies what it brings until it breaks.
func (db *DB) stream(from Revision) error {
	ctx, cancel := context.WithCancel(db.ctx)
	defer cancel()
	responses := db.client.Watch(streamContext(ctx), db.root, clientv3.WithPrefix(), clientv3.WithRev(int64(from)),
		clientv3.WithProgressNotify(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	var events []*clientv3.Event
	for response := range responses {
		reached, err := db.receive(&events, response)
		// Whatever else has arrived is taken along: watchers are woken once for all of it.
		for err == nil && len(events) < streamBatch && len(responses) > 0 {
			var more Revision
			more, err = db.receive(&events, <-responses)
			reached = max(reached, more)
		}
		db.take(events)
		clear(events)
		events = events[:0]
		db.advance(reached)
		if err != nil {
			return err
		}
	}
	return errors.New("the watch was closed")
}

// streamContext marks the one gRPC stream of the watch, and of the requests for its progress.
func streamContext(ctx context.Context) context.Context { return clientv3.WithRequireLeader(ctx) }

// receive appends a response's events and returns the revision that it proves to be reached.
func (db *DB) receive(events *[]*clientv3.Event, r clientv3.WatchResponse) (Revision, error) {
	if err := r.Err(); err != nil {
		return 0, err
	}
	db.connected.Store(true)
	if r.IsProgressNotify() {
		return Revision(r.Header.Revision), nil
	}
	if len(r.Events) == 0 {
		return 0, nil // the watch was created
	}
	*events = append(*events, r.Events...)
	// The header's revision may be ahead of events that are still to come; the last event's is not. A response holds
	// whole revisions.
	return Revision(r.Events[len(r.Events)-1].Kv.ModRevision), nil
}

// take hands events to their stores, runs of one store at once. The order within a store is etcd's.
func (db *DB) take(events []*clientv3.Event) {
	var bytes int
	var order []*Store
	batches := map[*Store][]*clientv3.Event{}
	for _, ev := range events {
		bytes += len(ev.Kv.Value)
		s := db.storeOf(ev.Kv.Key)
		if s == nil {
			continue
		}
		if batches[s] == nil {
			order = append(order, s)
		}
		batches[s] = append(batches[s], ev)
	}
	for _, s := range order {
		s.apply(batches[s])
	}
	db.history.add(db, bytes)
}

// advance moves applied on, after every cache has what lies before.
func (db *DB) advance(r Revision) {
	if r <= db.applied.Load() {
		return
	}
	db.applied.store(r)
	db.waiters.notify(r)
}

// jump crosses a gap: every cache is read anew. The new stream begins after a revision that is current now, and the
// caches are read after that, so that the two overlap.
func (db *DB) jump() error {
	now, err := db.ask(db.ctx)
	if err != nil {
		return fmt.Errorf("cross a gap: %w", err)
	}
	db.log.Warn("etcd has compacted changes that were not seen yet; caches are read anew", "from", db.applied.Load(), "to", now)
	for _, s := range db.all() {
		s.interrupt()
	}
	db.advance(now)
	return nil
}
