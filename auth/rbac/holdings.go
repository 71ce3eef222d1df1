package rbac

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

// holdings is who has what: a hash table of shards. A shard is a map that is replaced and never changed, so that readers
// need no lock and a change copies a small part of the whole.
type holdings struct {
	seed   maphash.Seed
	shards [4096]atomic.Pointer[map[holder]holding]
}

// of is what the holder has; nil if it has nothing.
func (t *holdings) of(h holder) holding {
	if shard := t.shard(h).Load(); shard != nil {
		return (*shard)[h]
	}
	return nil
}

// set replaces what a holder has. Callers take turns.
func (t *holdings) set(h holder, has holding) {
	shard := t.shard(h)
	now := map[holder]holding{}
	if before := shard.Load(); before != nil {
		now = maps.Clone(*before)
	}
	if len(has) > 0 {
		now[h] = has
	} else {
		delete(now, h)
	}
	shard.Store(&now)
}

func (t *holdings) shard(h holder) *atomic.Pointer[map[holder]holding] {
	hash := maphash.String(t.seed, h.name) ^ maphash.String(t.seed, h.namespace)*31
	return &t.shards[hash%uint64(len(t.shards))]
}
