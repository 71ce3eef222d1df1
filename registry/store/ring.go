package store

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// change is one event of a resource: an object's state before (nil: it did not exist) and after (nil: it does not any
// more). The same change is MODIFIED for one watcher, ADDED for another whose selection the object enters, and DELETED
// for a third whose selection it leaves.
type change struct {
	revision Revision
	at       time.Time
	old, new *Entry
	size     int // bytes that are kept only for this change
	left     atomic.Pointer[Entry]
}

// parting is the last state before the change under the revision of the change: what a DELETED event shows.
func (c *change) parting() *Entry {
	for {
		if e := c.left.Load(); e != nil {
			return e
		}
		c.left.CompareAndSwap(nil, c.old.at(c.revision))
	}
}

// cool takes from the change what can be made again: memos of the superseded state, and the parting one.
func (c *change) cool() {
	if c.old != nil {
		c.old.memos.forget()
	}
	c.left.Store(nil)
}

// ring holds the latest changes of a resource in order. A change has a number, counted from the beginning of the ring;
// watchers are such numbers. Only the stream adds changes; watchers read beside it.
type ring struct {
	mu      sync.RWMutex
	changes []*change // a circular buffer: number n is at n modulo its length, which is a power of two
	start   int64     // the oldest number
	end     int64     // one after the newest
	warm    int64     // changes before it are cool
	bytes   int       // the sum of the changes' sizes
	floor   Revision  // changes up to this revision are gone, or were never here
	horizon atomic.Int64
}

// changeOverhead is what a change costs in bytes besides the entries it keeps.
const changeOverhead = 112

// push adds changes, which are in order.
func (r *ring) push(batch []*change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range batch {
		if r.end-r.start == int64(len(r.changes)) {
			r.grow()
		}
		r.changes[r.end&int64(len(r.changes)-1)] = c
		r.end++
		r.bytes += c.size
	}
	r.horizon.Store(r.end)
}

func (r *ring) grow() { r.resize(max(64, 2*len(r.changes))) }

func (r *ring) resize(length int) {
	changes := make([]*change, length)
	for n := r.start; n < r.end; n++ {
		changes[n&int64(length-1)] = r.changes[n&int64(len(r.changes)-1)]
	}
	r.changes = changes
}

// last is the number that the next change will get. A watcher that has seen all before it is up to date.
func (r *ring) last() int64 { return r.horizon.Load() }

// read copies changes from number n on and returns how many; ok is false when n has been dropped.
func (r *ring) read(n int64, into []*change) (count int, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if n < r.start {
		return 0, false
	}
	for ; n < r.end && count < len(into); n++ {
		into[count] = r.changes[n&int64(len(r.changes)-1)]
		count++
	}
	return count, true
}

// after returns the number of the first change above a revision; ok is false, with the oldest revision to begin at,
// when changes above it have been dropped.
func (r *ring) after(revision Revision) (n int64, oldest Revision, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if revision < r.floor {
		return 0, r.floor, false
	}
	i := sort.Search(int(r.end-r.start), func(i int) bool {
		return r.changes[(r.start+int64(i))&int64(len(r.changes)-1)].revision > revision
	})
	return r.start + int64(i), r.floor, true
}

// drop removes the oldest changes as long as gone says so.
func (r *ring) drop(gone func(c *change, bytes int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.start < r.end {
		slot := r.start & int64(len(r.changes)-1)
		c := r.changes[slot]
		if !gone(c, r.bytes) {
			break
		}
		r.changes[slot] = nil
		r.start++
		r.bytes -= c.size
		r.floor = c.revision
	}
	r.warm = max(r.warm, r.start)
	if n := len(r.changes); n > 64 && r.end-r.start < int64(n)/4 {
		r.resize(n / 2)
	}
}

// cool makes changes from before a moment smaller. Watchers that keep up have written them long ago; for the few that
// come later the work is done again.
func (r *ring) cool(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.warm < r.end; r.warm++ {
		c := r.changes[r.warm&int64(len(r.changes)-1)]
		if c.at.After(before) {
			return
		}
		c.cool()
	}
}

// reset empties the ring after a gap: what lies before revision cannot be told any more.
func (r *ring) reset(revision Revision) {
	r.drop(func(*change, int) bool { return true })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floor = revision
	// Numbers must not go on: a watcher that is up to date with what was lost would not notice the gap.
	r.start, r.end = r.end+1, r.end+1
	r.warm = r.end
	r.horizon.Store(r.end)
}

// oldest is the revision from which on all changes are known.
func (r *ring) oldest() Revision {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.floor
}
