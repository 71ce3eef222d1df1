package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// snapshots are collections of the past that lists at an exact revision have been answered from, and that the next page
// will want again. Any other revision that the ring reaches back to is made from the nearest later collection, by undoing
// the changes in between; one that it does not reach back to is read from etcd.
type snapshots struct {
	mu   sync.Mutex
	list []snapshot // in order of use
}

type snapshot struct {
	*present
	at   Revision // which the present stands for
	used time.Time
}

const (
	keptSnapshots  = 32
	snapshotPeriod = 2 * time.Minute // without use
)

// save keeps p as the collection at a revision.
func (h *snapshots) save(at Revision, p *present) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(s snapshot) bool { return s.at == at })
	if len(h.list) == keptSnapshots {
		h.list = slices.Delete(h.list, 0, 1)
	}
	h.list = append(h.list, snapshot{p, at, time.Now()})
}

// nearest returns the earliest snapshot at or after a revision.
func (h *snapshots) nearest(revision Revision) (best snapshot, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.list {
		if s.at >= revision && (!ok || s.at < best.at) {
			best, ok = s, true
		}
	}
	return best, ok
}

// expire drops what has not been used for a while: pages of one list come within seconds of each other.
func (h *snapshots) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(s snapshot) bool { return now.Sub(s.used) > snapshotPeriod })
}

// at returns the collection as it was at a revision that the cache has reached. One that is bygone counts as compacted.
func (s *Store) at(ctx context.Context, revision Revision) (*present, error) {
	if revision < Revision(s.db.compactor.bygone.Load()) {
		return nil, rpctypes.ErrCompacted
	}
	p, now := s.view()
	if p.revision <= revision {
		return p, nil
	}
	base := snapshot{present: p, at: now}
	if near, ok := s.past.nearest(revision); ok && near.at < now {
		base = near
	}
	if base.at != revision {
		past, ok := s.undo(base, revision)
		if !ok {
			var err error
			if past, err = s.readAll(ctx, revision); err != nil {
				return nil, err
			}
		}
		base.present = past
	}
	s.past.save(revision, base.present)
	return base.present, nil
}

// undo takes the changes after a revision back from a later collection. It fails when the ring does not know them all.
func (s *Store) undo(base snapshot, to Revision) (*present, bool) {
	n, _, ok := s.ring.after(to)
	if !ok {
		return nil, false
	}
	var changes []*change
	for batch := make([]*change, 256); ; {
		count, ok := s.ring.read(n, batch)
		if !ok {
			return nil, false
		}
		n += int64(count)
		changes = append(changes, batch[:count]...)
		if count == 0 || batch[count-1].revision >= base.at {
			break
		}
	}
	past := present{revision: to, broken: base.broken, bytes: base.bytes}
	ed := edited(base.root)
	for _, c := range slices.Backward(changes) {
		switch {
		case c.revision > base.at:
			continue
		case c.old == nil:
			ed.remove(c.new.Key)
		default:
			ed.set(c.old)
		}
		past.count(c.new, c.old)
	}
	past.root = ed.root
	return &past, true
}
