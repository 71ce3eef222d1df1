package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// WatchOptions say what a watch wants to see, and from when on.
type WatchOptions struct {
	Selection
	ResourceVersion   string
	Match             metav1.ResourceVersionMatch
	SendInitialEvents *bool
	AllowBookmarks    bool
	Deadline          time.Time // when the caller will end the watch; a bookmark is due 2 s before
	Settled           func()    // called once, by Next, when all initial events have been taken; may be nil
}

// Event is what a watcher sees. Bookmarks have a Revision and no Entry.
type Event struct {
	Type     watch.EventType
	Entry    *Entry // for DELETED: the last state under the delete's revision
	Revision Revision
	// InitialEventsEnd marks the bookmark that ends the initial events.
	InitialEventsEnd bool
}

// Watcher is a cursor into the resource's ring of events. It has no buffer: a watcher that nobody reads from costs
// nothing until the ring has gone on without it.
//
// A watcher is idle when it has seen all that concerns it. The stream sets the cursor of an idle watcher to the first
// change that does, and wakes it, so that what lies between is never looked at.
type Watcher struct {
	store  *Store
	filter filter
	remove func()
	wakeup chan struct{}

	mu     sync.Mutex // guards the two below, which the stream changes while the watcher is idle
	idle   bool
	cursor int64 // the number of the next change to look at

	// What follows belongs to the caller of Next.
	initial   *node    // the collection to be sent as ADDED events; nil once that is done
	rank      int      // of the next entry of initial
	marksEnd  bool     // a bookmark ends the initial events
	after     Revision // changes up to it have been seen, or are not wanted
	settled   func()   // nil once called
	bookmarks bool
	due       time.Time // of the next bookmark; zero: never
	deadline  time.Time
}

const (
	bookmarkPeriod   = time.Minute
	bookmarkDeadline = 2 * time.Second // before the end of the watch
	watchBatch       = 64              // changes looked at, or initial entries sent, in one go
)

// Watch starts a watch. It fails with 410 Expired when the changes after o.ResourceVersion are not known any more, with
// 504 when o.ResourceVersion is not reached in time, and with 429 when the cache cannot be filled.
func (s *Store) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) {
	plan, err := planWatch(s.Resource, o)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, plan.wait); err != nil {
		return nil, err
	}
	w := &Watcher{
		store: s, filter: s.newFilter(o.Selection), wakeup: make(chan struct{}, 1),
		bookmarks: o.AllowBookmarks, deadline: o.Deadline, settled: o.Settled, marksEnd: o.AllowBookmarks && plan.marksEnd,
	}
	w.schedule(time.Now())
	if err := s.begin(w, plan); err != nil {
		return nil, err
	}
	return w, nil
}

// begin sets the cursor and registers the watcher. Under s.mu present and ring are at the same revision, and no change
// can come between them and the registration.
func (s *Store) begin(w *Watcher, plan watchPlan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, revision := s.view()
	w.cursor = s.ring.last()
	switch plan.start {
	case startInitial:
		w.initial, w.after = p.root, revision
		if entries, ok := s.through(p, &w.filter); ok {
			w.initial = treeOf(entries)
		}
		if w.initial == nil {
			w.initial = new(node)
		}
		w.rank, _ = w.filter.span(w.initial)
	case startNow:
		w.after = revision
	case startAfter:
		w.after = plan.after
		n, oldest, ok := s.ring.after(plan.after)
		if !ok {
			return tooOld(plan.after, oldest)
		}
		w.cursor = n
	}
	w.remove = s.wakes.add(w)
	s.stats.watches.Add(1)
	return nil
}

// Next appends the events that are due to buf, waiting until there is one. It fails with a *errors.StatusError (410
// Expired when the watcher fell behind the ring), or with ctx's error.
func (w *Watcher) Next(ctx context.Context, buf []Event) ([]Event, error) {
	have := len(buf)
	for {
		if w.initial == nil && w.settled != nil {
			w.settled()
			w.settled = nil
		}
		var err error
		switch {
		case w.initial != nil:
			buf = w.sendInitial(buf)
		case !w.resting():
			buf, err = w.sendChanges(buf)
		}
		if err != nil || len(buf) > have {
			return buf, err
		}
		if !w.rest() {
			continue
		}
		if buf = w.sendBookmark(buf); len(buf) > have {
			return buf, nil
		}
		if err := w.wait(ctx); err != nil {
			return buf, err
		}
	}
}

// sendInitial sends the next run of the initial collection, and at its end the bookmark.
func (w *Watcher) sendInitial(buf []Event) []Event {
	_, end := w.filter.span(w.initial)
	sent := len(buf)
	w.initial.walk(w.rank, end, func(run []*Entry, _ *node) bool {
		for _, e := range run {
			if w.filter.wants(e) {
				buf = append(buf, Event{Type: watch.Added, Entry: e, Revision: e.Revision})
			}
		}
		w.rank += len(run)
		return len(buf)-sent < watchBatch
	})
	if w.rank < end {
		return buf
	}
	w.initial = nil
	if w.marksEnd {
		buf = append(buf, Event{Type: watch.Bookmark, Revision: w.after, InitialEventsEnd: true})
	}
	return buf
}

// sendChanges looks at the changes from the cursor on until it has found some or there are no more.
func (w *Watcher) sendChanges(buf []Event) ([]Event, error) {
	var batch [watchBatch]*change
	for have := len(buf); len(buf) == have; {
		n, ok := w.store.ring.read(w.cursor, batch[:])
		if !ok {
			return buf, tooOld(w.after, w.store.ring.oldest())
		}
		if n == 0 {
			break
		}
		for _, c := range batch[:n] {
			if e, wanted := w.see(c); wanted {
				buf = append(buf, e)
			}
		}
		w.cursor += int64(n)
	}
	return buf, nil
}

// see turns a change into what it means for this watcher.
func (w *Watcher) see(c *change) (Event, bool) {
	if c.revision <= w.after {
		return Event{}, false
	}
	w.after = c.revision
	was, is := w.filter.wants(c.old), w.filter.wants(c.new)
	switch {
	case is && was:
		return Event{Type: watch.Modified, Entry: c.new, Revision: c.revision}, true
	case is:
		return Event{Type: watch.Added, Entry: c.new, Revision: c.revision}, true
	case was:
		return Event{Type: watch.Deleted, Entry: c.parting(), Revision: c.revision}, true
	}
	return Event{}, false
}

func (w *Watcher) resting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle
}

// rest makes the watcher idle, unless there are changes that it has not looked at.
func (w *Watcher) rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.idle && w.cursor != w.store.ring.last() {
		return false
	}
	select {
	case <-w.wakeup: // left over from a change that has been seen since
	default:
	}
	w.idle = true
	return true
}

// poke wakes an idle watcher for the change with this number. The stream calls it after the change is in the ring: if
// the watcher came to rest before that it is idle now, and if after that it has looked at the change. A negative number
// leaves the cursor where it is.
func (w *Watcher) poke(number int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.idle || number >= 0 && number < w.cursor {
		return
	}
	w.idle = false
	if number >= 0 {
		w.cursor = number
	}
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// wait sleeps until the watcher is poked or a bookmark is due.
func (w *Watcher) wait(ctx context.Context) error {
	var due <-chan time.Time
	if !w.due.IsZero() {
		t := time.NewTimer(time.Until(w.due))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-w.wakeup:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.store.db.done:
		return apierrors.NewServiceUnavailable("the server is shutting down")
	}
	return nil
}

// sendBookmark sends a bookmark if one is due and the watcher is still idle: then everything that the stream has passed
// has been seen, since it pokes before it moves applied on.
func (w *Watcher) sendBookmark(buf []Event) []Event {
	now := time.Now()
	if w.due.IsZero() || now.Before(w.due) {
		return buf
	}
	revision := w.store.db.applied.Load()
	if !w.resting() {
		return buf
	}
	w.schedule(now)
	if revision < w.after {
		return buf // the watch begins in the future
	}
	return append(buf, Event{Type: watch.Bookmark, Revision: revision})
}

// schedule sets the time of the next bookmark: about every minute, and shortly before the end of the watch.
func (w *Watcher) schedule(now time.Time) {
	if !w.bookmarks {
		return
	}
	w.due = now.Add(bookmarkPeriod - 5*time.Second + rand.N(10*time.Second))
	if w.deadline.IsZero() {
		return
	}
	if last := w.deadline.Add(-bookmarkDeadline); last.Before(w.due) {
		w.due = last
	}
	if !w.due.After(now) {
		w.due = time.Time{}
	}
}

// Close frees what the watcher holds.
func (w *Watcher) Close() {
	w.remove()
	w.store.stats.watches.Add(-1)
}

func tooOld(revision, oldest Revision) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, oldest))
}
