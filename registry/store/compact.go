package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Etcd keeps all revisions until it is told that older ones are no longer wanted. All API servers of a cluster, knarr's
// and upstream's, agree on who tells it by one key: its value is the revision last compacted to, and its version counts
// the compactions. Whoever finds the version that it knows raises it, and then compacts to the revision that was current
// at its last turn; whoever does not, learns the version and waits for its next turn. So revisions live for one to two
// intervals, and a server that dies is replaced without anybody noticing.
const compactKey = "compact_rev_key"

const (
	compactEvery = 5 * time.Minute
	// An etcd in this process serves nobody else, and its file is this process's memory. It is also compacted whenever so
	// many bytes have been written, to what is then so old: readers of the past have the rings and snapshots here.
	compactBytes = 32 << 20
	compactAge   = 20 * time.Second
	compactTick  = 5 * time.Second
)

// compactor is what this server knows of compaction.
type compactor struct {
	version int64 // of the key, as last seen
	// bygone is the revision before which no list can be had, nor be gone on with, also where the rings and snapshots here
	// still know it: what clients may rely on is the interval, as upstream, and not how much memory there happens to be.
	bygone atomic.Int64
}

// mark remembers where etcd was at a moment.
type mark struct {
	at       time.Time
	revision Revision
	written  int64
}

// compact takes this server's turns until the DB is closed. bytes is what may be written between two; 0 sets no limit.
func (db *DB) compact(every time.Duration, bytes int64) {
	last := mark{at: time.Now(), written: db.history.written.Load()}
	interval := last
	var marks []mark
	for db.pause(min(every, compactTick)) {
		now := mark{time.Now(), db.applied.Load(), db.history.written.Load()}
		marks = append(marks, now)
		if now.at.Sub(interval.at) >= every {
			db.compactor.bygone.Store(int64(interval.revision))
			interval = now
		}
		target, due := nextCompaction(marks, last, now, every, bytes)
		if !due {
			continue
		}
		if err := db.compactTo(target); err != nil && db.ctx.Err() == nil {
			db.log.Warn("etcd was not compacted", "err", err)
		}
		last = now
		for len(marks) > 0 && marks[0].revision <= target {
			marks = marks[1:]
		}
	}
}

// nextCompaction decides whether it is time to compact, and to which revision: where etcd was one interval ago, or, when
// much has been written, a little while ago. 0 takes the turn without compacting.
func nextCompaction(marks []mark, last, now mark, every time.Duration, bytes int64) (target Revision, due bool) {
	age := every
	switch {
	case now.at.Sub(last.at) >= every:
	case bytes > 0 && now.written-last.written >= bytes:
		age = min(compactAge, every)
	default:
		return 0, false
	}
	for _, m := range marks {
		if now.at.Sub(m.at) < age {
			break
		}
		target = m.revision
	}
	return target, target > 0 || age == every
}

// compactTo takes one turn.
func (db *DB) compactTo(target Revision) error {
	ctx, cancel := context.WithTimeout(db.ctx, time.Minute)
	defer cancel()
	response, err := db.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(compactKey), "=", db.compactor.version)).
		Then(clientv3.OpPut(compactKey, target.String())).
		Else(clientv3.OpGet(compactKey)).
		Commit()
	if err != nil {
		return err
	}
	if !response.Succeeded {
		for _, kv := range response.Responses[0].GetResponseRange().Kvs {
			db.compactor.version = kv.Version
		}
		return nil
	}
	db.compactor.version++
	if target == 0 {
		return nil
	}
	_, err = db.client.Compact(ctx, int64(target))
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil
	}
	return err
}
