package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	fillPatience = 5 * time.Second // of a reader, with a cache that is being filled
	fillPage     = 500             // objects read from etcd at once
)

// ready waits until the cache can serve a read: it has been filled, and, unless any state will do, the stream goes on
// from what it holds.
func (s *Store) ready(ctx context.Context, need wait) error {
	if p := s.present.Load(); p != nil && (p.live || need == wait{}) && !s.dropped.Load() {
		return nil
	}
	if s.dropped.Load() {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("%s are no longer served under this definition", s.Resource))
	}
	filled := s.fill()
	patience := time.NewTimer(fillPatience)
	defer patience.Stop()
	select {
	case <-filled:
		return nil
	case <-patience.C:
		return apierrors.NewTooManyRequests("storage is (re)initializing", 1)
	case <-ctx.Done():
		return contextError(ctx.Err())
	case <-s.db.done:
		return errClosed()
	}
}

// fill starts to read the collection from etcd, unless that is done or under way. The channel is closed at the end.
func (s *Store) fill() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filling != nil {
		return s.filling
	}
	filled := make(chan struct{})
	if p := s.present.Load(); p != nil && p.live {
		close(filled)
		return filled
	}
	s.startFilling(filled)
	return filled
}

// startFilling joins the stream: from now on its events wait in the backlog. The list that follows is linearizable, so
// it holds at least what the stream has brought before. s.mu is held.
func (s *Store) startFilling(filled chan struct{}) {
	s.filling = filled
	s.db.tasks.Go(func() {
		for !s.fillOnce() {
			if !s.db.pause(streamPause) {
				return
			}
		}
	})
}

// fillOnce reads the collection, drops what is older from the backlog, and applies the rest.
func (s *Store) fillOnce() bool {
	gaps := s.gaps.Load()
	p, err := s.readAll(s.db.ctx, 0)
	if err != nil {
		if s.db.ctx.Err() == nil {
			s.db.log.Warn("a watch cache cannot be filled", "resource", s.Resource.String(), "err", err)
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped.Load() {
		close(s.filling)
		return true
	}
	if s.gaps.Load() != gaps {
		return false // the stream broke meanwhile: the backlog does not join on to the list
	}
	p.live = true
	var before *node
	if old := s.present.Load(); old != nil {
		before = old.root
	}
	s.tellDifference(before, p.root)
	s.ring.reset(p.revision)
	s.wakes.wakeAll() // watchers that began on the old state get 410 too
	s.present.Store(p)
	clear(s.indexes)
	s.advance(p, s.backlog)
	close(s.filling)
	s.filling, s.backlog = nil, nil
	return true
}

// interrupt breaks with the stream, which has a gap. Watchers cannot be told what happened in it: they get 410 and list
// again. Reads that accept any state are answered from the old one; others wait until the collection has been read anew.
func (s *Store) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps.Add(1)
	s.backlog = nil
	p, revision := s.view()
	if p != nil {
		old := *p
		old.live, old.revision = false, revision
		s.present.Store(&old)
		s.ring.reset(revision)
		s.wakes.wakeAll()
		if s.filling == nil && !s.dropped.Load() {
			s.startFilling(make(chan struct{}))
		}
	}
}

// drop parts the store from the stream for good.
func (s *Store) drop() {
	s.dropped.Store(true)
	s.interrupt()
}

// readAll reads the whole collection, at a revision or (0) at the latest one.
func (s *Store) readAll(ctx context.Context, at Revision) (*present, error) {
	p := &present{revision: at}
	ed := edited(nil)
	key, end := s.prefix, clientv3.GetPrefixRangeEnd(s.prefix)
	for {
		response, err := s.db.client.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(fillPage), clientv3.WithRev(int64(p.revision)))
		if err != nil {
			return nil, err
		}
		if p.revision == 0 {
			p.revision = Revision(response.Header.Revision)
		}
		for _, e := range s.entriesOf(response.Kvs) {
			ed.set(e)
			p.count(nil, e)
		}
		if !response.More {
			p.root = ed.root
			return p, nil
		}
		key = string(response.Kvs[len(response.Kvs)-1].Key) + "\x00"
	}
}

// entriesOf makes entries of values, on all processors: completing an object costs more than reading it.
func (s *Store) entriesOf(kvs []*mvccpb.KeyValue) []*Entry {
	entries := make([]*Entry, len(kvs))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (len(kvs)+15)/16) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(kvs); i = int(next.Add(1)) - 1 {
				entries[i] = s.entryAt(kvs[i])
			}
		})
	}
	workers.Wait()
	return entries
}

// entryAt makes an entry of a value, or finds the one that the cache has for it.
func (s *Store) entryAt(kv *mvccpb.KeyValue) *Entry {
	k := parseKey(string(kv.Key[len(s.prefix):]))
	if e := s.cached(k); e != nil && !e.broken && e.Revision == Revision(kv.ModRevision) {
		return e
	}
	return s.intake(k, kv.Value, Revision(kv.ModRevision))
}
