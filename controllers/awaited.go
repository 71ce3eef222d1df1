package controllers

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// What a controller reads is what its informers have seen, which may be behind what it has written itself: deciding on
// that, it would create what it has created already. So a key is not reconciled before the informers have seen what was
// written for it last:
//
//   - a create or an update by the revision in its answer (revisions are compared within one resource only);
//   - a delete by the UID of what is to be gone, or marked as going;
//   - a write whose answer was lost may have happened or not. Then the API is read, and whatever it has that the
//     informers have not, and the other way round, is waited for. The same is done for a revision that does not come
//     within patience.
const patience = 10 * time.Second

// awaited are the writes of a loop that its informers have not seen.
type awaited struct {
	clock clock.WithTickerAndDelayedExecution
	queue func(Key)

	mu   sync.Mutex // guards keys and what is in them
	keys map[Key]*marks
}

// marks are what one key waits for.
type marks struct {
	since     time.Time // the latest of them was set
	revisions map[*Source]string
	parting   map[types.UID]parting
	doubts    map[*Source]bool // answers were lost
	parked    bool             // the key has been taken off the queue until something is seen
}

// parting is an object that is to go.
type parting struct {
	of  *Source
	key Key
}

func (a *awaited) init(c clock.WithTickerAndDelayedExecution, queue func(Key)) {
	a.clock, a.queue, a.keys = c, queue, map[Key]*marks{}
}

// set changes what k waits for.
func (a *awaited) set(k Key, change func(*marks)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.keys[k]
	if m == nil {
		m = &marks{revisions: map[*Source]string{}, parting: map[types.UID]parting{}, doubts: map[*Source]bool{}}
		a.keys[k] = m
	}
	m.since = a.clock.Now()
	change(m)
}

func (m *marks) revision(s *Source, revision string) {
	if before := m.revisions[s]; before == "" || newer(revision, before) {
		m.revisions[s] = revision
	}
}

// Behind reports that the informer of a source does not know yet what the API has in the key's namespace. The key comes back when
// it does.
func (t *Turn) Behind(ctx context.Context, s *Source) (behind bool, err error) {
	there, err := s.read(ctx, t.Namespace)
	if err != nil {
		return false, err
	}
	t.loop.awaited.set(t.Key, func(m *marks) {
		m.difference(s, t.Namespace, there)
		behind = !m.seen()
	})
	if behind {
		t.Wake(t.Key)
	}
	return behind, nil
}

// holds reports that k has to wait still; it comes back to the queue by itself then.
func (a *awaited) holds(ctx context.Context, k Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.keys[k]
	if m == nil {
		return false
	}
	m.parked = false
	if a.clock.Since(m.since) >= patience && !m.seen() { // the key may come back long after
		m.doubt()
	}
	if len(m.doubts) > 0 && !a.ask(ctx, k, m) {
		a.clock.AfterFunc(time.Second, func() { a.queue(k) })
		return true
	}
	if m.seen() {
		delete(a.keys, k)
		return false
	}
	m.parked = true
	a.clock.AfterFunc(patience, func() { a.queue(k) })
	return true
}

// ask replaces doubts by what the API says there is. a.mu is held, but not while the API is asked: k is with one worker
// only, and nobody else adds to its marks.
func (a *awaited) ask(ctx context.Context, k Key, m *marks) bool {
	there := map[*Source][]metav1.Object{}
	a.mu.Unlock()
	defer a.mu.Lock()
	for s := range m.doubts {
		objects, err := s.read(ctx, k.Namespace)
		if err != nil {
			return false
		}
		there[s] = objects
	}
	for s, objects := range there {
		delete(m.doubts, s)
		delete(m.revisions, s)
		for uid, p := range m.parting {
			if p.of == s {
				delete(m.parting, uid)
			}
		}
		m.difference(s, k.Namespace, objects)
	}
	m.since = a.clock.Now()
	return true
}

// difference waits for what the API has and the informer has not, and the other way round.
func (m *marks) difference(s *Source, namespace string, objects []metav1.Object) {
	live := map[types.UID]bool{}
	for _, o := range objects {
		live[o.GetUID()] = true
		if cached := s.cached(KeyOf(o)); cached == nil || newer(o.GetResourceVersion(), cached.GetResourceVersion()) {
			m.revision(s, o.GetResourceVersion())
		}
	}
	for _, o := range s.all(namespace) {
		if !live[o.GetUID()] {
			m.parting[o.GetUID()] = parting{s, KeyOf(o)}
		}
	}
}

// doubt no longer trusts that what is waited for will come.
func (m *marks) doubt() {
	for s := range m.revisions {
		m.doubts[s] = true
	}
	for _, p := range m.parting {
		m.doubts[p.of] = true
	}
}

// saw lets those keys go on that have waited for a change of a source.
func (a *awaited) saw(s *Source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, m := range a.keys {
		if m.parked && m.concerns(s) && m.seen() {
			m.parked = false
			a.queue(k)
		}
	}
}

func (m *marks) concerns(s *Source) bool {
	if m.revisions[s] != "" {
		return true
	}
	for _, p := range m.parting {
		if p.of == s {
			return true
		}
	}
	return false
}

// seen reports that the informers have caught up with everything, and forgets what they have caught up with.
func (m *marks) seen() bool {
	for s, revision := range m.revisions {
		if s.reached(revision) {
			delete(m.revisions, s)
		}
	}
	for uid, p := range m.parting {
		if cached := p.of.cached(p.key); cached == nil || cached.GetUID() != uid || cached.GetDeletionTimestamp() != nil {
			delete(m.parting, uid)
		}
	}
	return len(m.revisions)+len(m.parting)+len(m.doubts) == 0
}
