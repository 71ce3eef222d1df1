package rbac

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
)

// holdings is who has what: a hash table of shards. A shard is replaced and never changed, so that readers need no lock
// and a change copies a small part of the whole. It is a slice: three or four holders by their hashes are found sooner
// than a map has hashed them once more.
type holdings struct {
	seed   maphash.Seed
	shards [4096]atomic.Pointer[[]place]
}

// place is where it stands what one holder has.
type place struct {
	hash uint64
	holder
	has holding
}

// of is what the holder has; nil if it has nothing.
func (t *holdings) of(h *holder) holding {
	hash := t.hash(h)
	if shard := t.shard(hash).Load(); shard != nil {
		for i := range *shard {
			if at := &(*shard)[i]; at.hash == hash && at.holder == *h {
				return at.has
			}
		}
	}
	return nil
}

// set replaces what a holder has. Callers take turns.
func (t *holdings) set(h holder, has holding) {
	hash := t.hash(&h)
	shard := t.shard(hash)
	var now []place
	if before := shard.Load(); before != nil {
		now = slices.DeleteFunc(slices.Clone(*before), func(p place) bool { return p.holder == h })
	}
	if len(has) > 0 {
		now = append(now, place{hash, h, has})
	}
	shard.Store(&now)
}

func (t *holdings) hash(h *holder) uint64 {
	hash := maphash.String(t.seed, h.name)
	if h.namespace != "" {
		hash ^= maphash.String(t.seed, h.namespace) * 31
	}
	return hash
}

func (t *holdings) shard(hash uint64) *atomic.Pointer[[]place] {
	return &t.shards[hash%uint64(len(t.shards))]
}
