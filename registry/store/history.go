package store

import (
	"sync/atomic"
	"time"
)

// history keeps the rings within bounds. A change is kept for a while, so that a watcher or a reflector that was cut off
// can go on where it was; together all changes stay within a budget of memory, and the resource that uses most of it
// gives up its oldest first. The past may take as much as the present: a cluster with more objects has more changes.
type history struct {
	fixed   int          // the budget, if it is given; else 0
	written atomic.Int64 // bytes that the stream has brought, ever
	unsaid  int          // bytes since the budget was last looked at
}

const (
	leastHistory  = 24 << 20
	mostHistory   = 100 << 20
	historyPeriod = 80 * time.Second // for which changes are kept at least, the budget permitting
	historySmall  = 64 << 10         // a ring below this keeps its changes for longer
	memoPeriod    = 3 * time.Second  // for which superseded entries keep their memos
	trimEvery     = 1 << 20          // bytes that the stream brings between two looks at the budget
)

// add counts bytes that the stream brought, and looks at the budget now and then. Only the stream calls it.
func (h *history) add(db *DB, bytes int) {
	h.written.Add(int64(bytes))
	h.unsaid += bytes
	if h.unsaid > trimEvery || h.fixed > 0 && h.unsaid > h.fixed/32 {
		h.unsaid = 0
		db.trim()
	}
}

// budget is what the past may take beside so many bytes of present.
func (h *history) budget(present int) int {
	if h.fixed > 0 {
		return h.fixed
	}
	return min(max(present, leastHistory), mostHistory)
}

// trim makes the largest rings smaller until all fit.
func (db *DB) trim() {
	stores := db.all()
	for {
		var largest *Store
		total, most, present := 0, 0, 0
		for _, s := range stores {
			n := s.ring.size()
			total += n
			if p := s.present.Load(); p != nil {
				present += p.bytes
			}
			if n > most {
				largest, most = s, n
			}
		}
		budget := db.history.budget(present)
		if total <= budget {
			return
		}
		goal := most - max(total-budget, most/16)
		largest.ring.drop(func(_ *change, bytes int) bool { return bytes > goal })
	}
}

// keepHistory drops what is too old to be wanted.
func (db *DB) keepHistory() {
	for db.pause(time.Second) {
		now := time.Now()
		for _, s := range db.all() {
			s.ring.cool(now.Add(-memoPeriod))
			s.ring.drop(func(c *change, bytes int) bool {
				return bytes > historySmall && now.Sub(c.at) > historyPeriod
			})
			s.past.expire(now)
		}
	}
}

func (r *ring) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.bytes
}
