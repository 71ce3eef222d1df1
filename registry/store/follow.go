package store

import (
	"context"
	"slices"
)

// Follow tells changed every entry that there is, with old nil, and from then on each change: new is nil for an entry
// that is gone. A change is told before it can be read. After a gap in the stream it is told what differs. changed must
// be quick, and must not read from this store; one call follows the other. Follow returns when the entries that there are
// have been told; an error means that they could not be read yet, and that they will be told as soon as they are.
func (s *Store) Follow(ctx context.Context, changed func(old, new *Entry)) error {
	s.mu.Lock()
	s.followers = append(slices.Clip(s.followers), changed)
	if p := s.present.Load(); p != nil {
		p.root.all(func(e *Entry) { changed(nil, e) })
	}
	s.mu.Unlock()
	return s.ready(ctx, wait{current: true})
}

// tell tells one change to all followers. s.mu is held.
func (s *Store) tell(old, new *Entry) {
	for _, changed := range s.followers {
		changed(old, new)
	}
}

// tellDifference tells how the collection under now differs from that under before. s.mu is held.
func (s *Store) tellDifference(before, now *node) {
	if len(s.followers) == 0 {
		return
	}
	before.all(func(old *Entry) {
		if now.get(old.Key) == nil {
			s.tell(old, nil)
		}
	})
	now.all(func(e *Entry) {
		if old := before.get(e.Key); old == nil || old.Revision != e.Revision || old.broken != e.broken {
			s.tell(old, e)
		}
	})
}

// settle waits until a write can be read, and followers have been told, where requests are decided by what is written.
// It gives up silently: the write stands, and will be seen a little later.
func (s *Store) settle(ctx context.Context, written *Entry) {
	if written == nil || s.present.Load() == nil {
		return // where nobody has read or followed yet, whoever begins to begins with the write
	}
	for last := s.written.Load(); int64(written.Revision) > last; last = s.written.Load() {
		if s.written.CompareAndSwap(last, int64(written.Revision)) {
			break
		}
	}
	if s.Governs {
		_ = s.reach(ctx, wait{revision: written.Revision})
	}
}

// Settle waits until followers have been told of all that has been written through this store, which costs nothing if
// they have. It gives up silently, as a write does.
func (s *Store) Settle(ctx context.Context) {
	if s.present.Load() != nil {
		_ = s.reach(ctx, wait{revision: Revision(s.written.Load())})
	}
}
