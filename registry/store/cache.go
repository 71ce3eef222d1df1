package store

import (
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Store keeps the objects of one resource.
type Store struct {
	Config
	db         *DB
	prefix     string // in etcd, with the root before it and a slash behind
	head       []byte // of every stored value, before it is sealed
	cipher     Cipher // nil: values are stored in plain
	elem       reflect.Type
	fieldIndex map[string]int

	// present is the collection as it is; nil until the cache has been filled. It is read without locks.
	present atomic.Pointer[present]
	ring    ring
	wakes   wakes
	hints   hints
	past    snapshots
	stats   counters
	gaps    atomic.Int64 // in the stream, so far
	dropped atomic.Bool  // by its DB

	complained atomic.Int64 // when a broken object was last spoken of, in Unix seconds
	written    atomic.Int64 // revision of the last write through it

	// mu is held while present changes, so that a new watcher finds present and ring at the same revision.
	mu        sync.Mutex
	followers []func(old, new *Entry)
	indexes   map[int]index // by the field's place in Config.Fields; made when first asked for
	// filling is not nil while the collection is read from etcd. It is closed when that is done. What the stream brings
	// in the meantime waits in backlog.
	filling chan struct{}
	backlog []*clientv3.Event
}

// present is a state of the collection.
type present struct {
	root     *node
	revision Revision // of the change or list that made it
	// live tells that the stream goes on from here: until the next state, this is also the collection at any later
	// revision that the stream has passed. After a gap in the stream it is not, until the collection has been read again.
	live bool
	// broken counts entries that cannot be decoded, bytes is what all entries take.
	broken, bytes int
}

// count adjusts the sums when one entry replaces another; either may be nil.
func (p *present) count(old, new *Entry) {
	if old != nil {
		p.bytes -= old.Size()
		p.broken -= brokenness(old)
	}
	if new != nil {
		p.bytes += new.Size()
		p.broken += brokenness(new)
	}
}

func newStore(db *DB, c Config) *Store {
	s := &Store{Config: c, db: db, prefix: db.root + c.Prefix + "/", fieldIndex: map[string]int{}, indexes: map[int]index{}}
	s.elem = reflect.TypeOf(c.New()).Elem()
	s.head = envelopeHead(c.Kind)
	if db.cipher != nil && !c.Unsealed {
		s.cipher = db.cipher(c.Resource)
	}
	for i, f := range c.Fields {
		s.fieldIndex[f.Path] = i
	}
	s.wakes.init(c.Fields)
	return s
}

// view returns the collection and the newest revision that it is known to stand for; p is nil before the first fill.
func (s *Store) view() (p *present, revision Revision) {
	for {
		p = s.present.Load()
		if p == nil {
			return nil, 0
		}
		if !p.live {
			return p, p.revision
		}
		// The stream publishes a state before it moves applied on. If the state is the same before and after, no state
		// came in between, and everything up to applied is in it.
		applied := s.db.applied.Load()
		if s.present.Load() == p {
			return p, max(p.revision, applied)
		}
	}
}

// apply takes in events of this resource, in order. Only the stream calls it.
func (s *Store) apply(events []*clientv3.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.present.Load(); {
	case s.filling != nil:
		s.backlog = append(s.backlog, events...)
	case p != nil:
		s.advance(p, events)
	}
}

// advance makes the next state out of p, tells it to the ring, and wakes whom it concerns. s.mu is held.
func (s *Store) advance(p *present, events []*clientv3.Event) {
	now := time.Now()
	next := *p
	ed := edited(p.root)
	batch := make([]*change, 0, len(events))
	for _, ev := range events {
		if Revision(ev.Kv.ModRevision) <= p.revision {
			continue // the list that filled the cache has seen it
		}
		c := s.change(ed, ev)
		if c == nil {
			continue
		}
		c.at = now
		next.revision = c.revision
		next.count(c.old, c.new)
		s.tell(c.old, c.new)
		s.reindex(c.old, c.new)
		batch = append(batch, c)
	}
	if len(batch) == 0 {
		return
	}
	next.root = ed.root
	first := s.ring.last()
	s.ring.push(batch)
	s.present.Store(&next)
	s.hints.sweep(next.revision)
	s.wakes.wake(batch, first)
	s.stats.events.Add(int64(len(batch)))
}

// change applies one event to the tree under edit.
func (s *Store) change(ed *edit, ev *clientv3.Event) *change {
	k := parseKey(string(ev.Kv.Key[len(s.prefix):]))
	c := &change{revision: Revision(ev.Kv.ModRevision), size: changeOverhead}
	if ev.Type == mvccpb.Event_DELETE {
		c.old = ed.remove(k)
		if c.old == nil {
			return nil // nothing that anybody has seen
		}
	} else {
		c.new = s.entryOf(k, ev.Kv)
		c.old = ed.set(c.new)
	}
	if c.old != nil {
		c.size += c.old.Size()
	}
	return c
}

// entryOf makes the entry of an event: from the writer's hint if there is one, else by decoding the value.
func (s *Store) entryOf(k Key, kv *mvccpb.KeyValue) *Entry {
	r := Revision(kv.ModRevision)
	if e := s.hints.take(k, r, kv.Value); e != nil {
		return e
	}
	return s.intake(k, kv.Value, r)
}

// cached returns the entry that the cache holds for k, or nil.
func (s *Store) cached(k Key) *Entry {
	if p := s.present.Load(); p != nil {
		return p.root.get(k)
	}
	return nil
}
