package store

import (
	"context"
	"slices"
	"sync"
	"time"
)

// snapshots are collections of the past that lists at an exact revision have been answered from, and that the next page
// will want again. Any other revision that the ring reaches back to is made from the nearest later collection, by undoing
// the changes in between; one that it does not reach back to is read from etcd.
type snapshots struct {
	mu   sync.Mutex
	list []snapshot // in order of use
}

type snapshot struct {
	revision Revision
	root     *node
	used     time.Time
}

const (
	keptSnapshots  = 32
	snapshotPeriod = 2 * time.Minute // without use
)

// save keeps root as the collection at revision.
func (h *snapshots) save(revision Revision, root *node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(s snapshot) bool { return s.revision == revision })
	if len(h.list) == keptSnapshots {
		h.list = slices.Delete(h.list, 0, 1)
	}
	h.list = append(h.list, snapshot{revision, root, time.Now()})
}

// nearest returns the earliest snapshot at or after a revision.
func (h *snapshots) nearest(revision Revision) (best snapshot, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.list {
		if s.revision >= revision && (!ok || s.revision < best.revision) {
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

// at returns the collection as it was at a revision that the cache has reached.
func (s *Store) at(ctx context.Context, revision Revision) (*present, error) {
	p, _ := s.view()
	if p.revision <= revision {
		return p, nil
	}
	base := snapshot{revision: p.revision, root: p.root}
	if near, ok := s.past.nearest(revision); ok && near.revision < p.revision {
		base = near
	}
	if base.revision != revision {
		root, ok := s.undo(base.root, base.revision, revision)
		if !ok {
			var err error
			if root, _, _, err = s.readAll(ctx, revision); err != nil {
				return nil, err
			}
		}
		base = snapshot{revision: revision, root: root}
	}
	s.past.save(revision, base.root)
	return &present{root: base.root, revision: revision, broken: p.broken}, nil
}

// undo takes the changes after one revision, up to another, back from the collection at the latter. It fails when the
// ring does not know them all.
func (s *Store) undo(root *node, from, to Revision) (*node, bool) {
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
		if count == 0 || batch[count-1].revision >= from {
			break
		}
	}
	ed := edited(root)
	for _, c := range slices.Backward(changes) {
		switch {
		case c.revision > from:
		case c.old != nil:
			ed.set(c.old)
		default:
			ed.remove(c.new.Key)
		}
	}
	return ed.root, true
}
