package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	freshnessPatience = 3 * time.Second // of a read, with a revision that the cache has not reached
	etcdPatience      = 5 * time.Second // of a read, with etcd
	// hurryAfter is how long a reader waits before etcd is asked where it is. Nearly always the event that the reader
	// waits for is on its way; if the revision was made outside of the root, only a progress notice proves it passed.
	hurryAfter = 5 * time.Millisecond
	hurryEvery = 50 * time.Millisecond
)

// await waits until the cache is as fresh as a read needs it.
func (s *Store) await(ctx context.Context, need wait) error {
	if err := s.ready(ctx, need); err != nil {
		return err
	}
	if need.current {
		r, err := s.db.current(ctx)
		if err != nil {
			return err
		}
		need.revision = r
	}
	if _, r := s.view(); r >= need.revision {
		return nil
	}
	if s.Uncached && !need.current {
		r, err := s.db.current(ctx)
		if err != nil {
			return err
		}
		if r < need.revision {
			return tooLarge(need.revision, r, 0)
		}
	}
	return s.reach(ctx, need)
}

// reach waits for a revision, for a limited time.
func (s *Store) reach(ctx context.Context, need wait) error {
	ctx, cancel := context.WithTimeout(ctx, freshnessPatience)
	defer cancel()
	for {
		p, r := s.view()
		if p != nil && r >= need.revision {
			return nil
		}
		var err error
		if p == nil || !p.live {
			err = s.ready(ctx, need)
		} else {
			err = s.db.waiters.wait(ctx, s.db, need.revision)
		}
		switch {
		case err == nil:
		case ctx.Err() == context.DeadlineExceeded:
			_, r = s.view()
			return tooLarge(need.revision, r, 1)
		default:
			return err
		}
	}
}

// tooLarge is the answer to a read of a revision that is not there yet, worth another try after some seconds.
func tooLarge(wanted, current Revision, seconds int) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, current), seconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

// current is a revision of etcd that is no older than the call.
func (db *DB) current(ctx context.Context) (Revision, error) {
	if db.revision != nil {
		return Revision(db.revision()), nil
	}
	r, err := db.newest.get(ctx, db)
	if err != nil {
		return 0, etcdError(err)
	}
	return r, nil
}

// ask asks etcd for its revision with a linearizable read of nothing.
func (db *DB) ask(ctx context.Context) (Revision, error) {
	response, err := db.client.Get(ctx, db.root, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return Revision(response.Header.Revision), nil
}

// newest shares the answers to ask among callers. A caller may not take an answer to a question that was asked before it
// came: it could miss a write that the caller has made. So whoever finds one under way waits for the next.
type newest struct {
	mu   sync.Mutex
	next *asking // not sent yet; nil if nobody wants it
	busy bool    // one is under way
}

type asking struct {
	done     chan struct{}
	revision Revision
	err      error
}

func (n *newest) get(ctx context.Context, db *DB) (Revision, error) {
	n.mu.Lock()
	if n.next == nil {
		n.next = &asking{done: make(chan struct{})}
	}
	mine := n.next
	if !n.busy {
		n.busy = true
		db.tasks.Go(func() { n.run(db) })
	}
	n.mu.Unlock()
	select {
	case <-mine.done:
		return mine.revision, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run asks as long as there is somebody who wants to know.
func (n *newest) run(db *DB) {
	for {
		n.mu.Lock()
		a := n.next
		n.next = nil
		n.busy = a != nil
		n.mu.Unlock()
		if a == nil {
			return
		}
		ctx, cancel := context.WithTimeout(db.ctx, etcdPatience)
		a.revision, a.err = db.ask(ctx)
		cancel()
		close(a.done)
	}
}

// waiters are readers that wait until applied has reached some revision.
type waiters struct {
	mu    sync.Mutex
	list  []waiter
	asked chan struct{} // has a token when somebody has begun to wait
}

type waiter struct {
	revision Revision
	reached  chan struct{}
}

func (x *waiters) wait(ctx context.Context, db *DB, r Revision) error {
	w := waiter{r, make(chan struct{})}
	x.mu.Lock()
	x.list = append(x.list, w)
	x.mu.Unlock()
	if db.applied.Load() >= r { // notify may have come before
		x.leave(w)
		return nil
	}
	select {
	case x.asked <- struct{}{}:
	default:
	}
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		x.leave(w)
		return contextError(ctx.Err())
	case <-db.done:
		return errClosed()
	}
}

func (x *waiters) leave(w waiter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.DeleteFunc(x.list, func(o waiter) bool { return o.reached == w.reached })
}

// notify releases those who wait for r or less.
func (x *waiters) notify(r Revision) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.DeleteFunc(x.list, func(w waiter) bool {
		if w.revision > r {
			return false
		}
		close(w.reached)
		return true
	})
}

// oldest returns the least revision that is waited for; 0 is none.
func (x *waiters) oldest() Revision {
	x.mu.Lock()
	defer x.mu.Unlock()
	var least Revision
	for _, w := range x.list {
		if least == 0 || w.revision < least {
			least = w.revision
		}
	}
	return least
}

// hurry asks etcd for the progress of the stream while readers wait longer than events take.
func (db *DB) hurry() {
	for {
		select {
		case <-db.waiters.asked:
		case <-db.done:
			return
		}
		first := db.waiters.oldest()
		for pause := hurryAfter; ; pause = hurryEvery {
			if !db.pause(pause) {
				return
			}
			r := db.waiters.oldest()
			if r == 0 {
				break
			}
			if r > first {
				first = r // those who waited are served: the stream moves
				continue
			}
			// A failure shows on the stream itself.
			_ = db.client.RequestProgress(streamContext(db.ctx))
		}
	}
}
