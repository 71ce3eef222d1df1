package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/knarr-dev/knarr/registry/store"
)

func startWatch(t testing.TB, s *store.Store, o store.WatchOptions) *store.Watcher {
	t.Helper()
	w, err := s.Watch(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// next waits for n events and tells them as "ADDED c00001=data".
func next(t testing.TB, w *store.Watcher, n int) []string {
	t.Helper()
	var events []store.Event
	var err error
	for len(events) < n {
		if events, err = w.Next(within(t), events); err != nil {
			t.Fatalf("after %d of %d events: %v", len(events), n, err)
		}
	}
	var told []string
	for _, e := range events {
		told = append(told, tell(t, e))
	}
	return told
}

func tell(t testing.TB, e store.Event) string {
	t.Helper()
	if e.Type == watch.Bookmark {
		return fmt.Sprintf("BOOKMARK end=%v", e.InitialEventsEnd)
	}
	o, err := e.Entry.Object()
	if err != nil {
		t.Fatal(err)
	}
	if o.GetResourceVersion() != e.Revision.String() {
		t.Errorf("event %d shows resourceVersion %s", e.Revision, o.GetResourceVersion())
	}
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return fmt.Sprintf("%s %s=%s", e.Type, e.Entry.Name, o.Data["data"])
	case *corev1.Pod:
		return fmt.Sprintf("%s %s on %s", e.Type, e.Entry.Name, o.Spec.NodeName)
	}
	return fmt.Sprintf("%s %s", e.Type, e.Entry.Name)
}

func TestOneChangeIsWhatItMeansToTheSelectionOfEachWatcher(t *testing.T) {
	s := openConfigMaps(t)
	put(t, s, key(9), configMap(key(9), "other"))
	inside := startWatch(t, s, store.WatchOptions{Selection: store.Selection{Labels: labels.SelectorFromSet(labels.Set{"in": "yes"})}})
	everything := startWatch(t, s, store.WatchOptions{})

	put(t, s, key(1), configMap(key(1), "1"))
	put(t, s, key(1), configMap(key(1), "2", "in", "yes"))
	put(t, s, key(1), configMap(key(1), "3", "in", "yes"))
	put(t, s, key(1), configMap(key(1), "4"))
	put(t, s, key(1), configMap(key(1), "5", "in", "yes"))
	remove(t, s, key(1))

	want := []string{"ADDED c00001=2", "MODIFIED c00001=3", "DELETED c00001=3", "ADDED c00001=5", "DELETED c00001=5"}
	if d := cmp.Diff(want, next(t, inside, 5)); d != "" {
		t.Error(d)
	}
	want = []string{"ADDED c00009=other", "ADDED c00001=1", "MODIFIED c00001=2", "MODIFIED c00001=3", "MODIFIED c00001=4",
		"MODIFIED c00001=5", "DELETED c00001=5"}
	if d := cmp.Diff(want, next(t, everything, 7)); d != "" {
		t.Error(d)
	}
}

func TestIndexedWatchersSeeTheirObjectsComeAndGo(t *testing.T) {
	s := openDB(t, startEtcd(t, ""), nil).Open(pods())
	on := func(k store.Key, node string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}
		p.Namespace, p.Name = k.Namespace, k.Name
		return p
	}
	k := store.Key{Namespace: "ns", Name: "p"}
	first := put(t, s, store.Key{Namespace: "ns", Name: "q"}, on(store.Key{Namespace: "ns", Name: "q"}, "a"))
	from := first.Revision.String()
	node := func(name string) store.Selection {
		return store.Selection{Fields: fields.OneTermEqualSelector("spec.nodeName", name)}
	}
	a := startWatch(t, s, store.WatchOptions{Selection: node("a"), ResourceVersion: from})
	b := startWatch(t, s, store.WatchOptions{Selection: node("b"), ResourceVersion: from})
	one := startWatch(t, s, store.WatchOptions{Selection: store.Selection{Namespace: "ns", Name: "p"}, ResourceVersion: from})
	anywhere := startWatch(t, s, store.WatchOptions{
		Selection: store.Selection{Fields: fields.OneTermEqualSelector("metadata.name", "p")}, ResourceVersion: from})
	elsewhere := startWatch(t, s, store.WatchOptions{Selection: store.Selection{Namespace: "other"}, ResourceVersion: from})

	put(t, s, k, on(k, "a"))
	put(t, s, k, on(k, "b"))
	remove(t, s, k)
	last := store.Key{Namespace: "other", Name: "r"}
	put(t, s, last, on(last, "c"))

	if d := cmp.Diff([]string{"ADDED p on a", "DELETED p on a"}, next(t, a, 2)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ADDED p on b", "DELETED p on b"}, next(t, b, 2)); d != "" {
		t.Error(d)
	}
	all := []string{"ADDED p on a", "MODIFIED p on b", "DELETED p on b"}
	if d := cmp.Diff(all, next(t, one, 3)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(all, next(t, anywhere, 3)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ADDED r on c"}, next(t, elsewhere, 1)); d != "" {
		t.Error(d)
	}
}

func TestInitialEventsEndWithABookmark(t *testing.T) {
	s := openConfigMaps(t)
	for i := range 300 {
		put(t, s, key(i), configMap(key(i), "x"))
	}
	yes := true
	w := startWatch(t, s, store.WatchOptions{SendInitialEvents: &yes, AllowBookmarks: true})
	told := next(t, w, 301)
	for i := range 300 {
		if want := fmt.Sprintf("ADDED c%05d=x", i); told[i] != want {
			t.Fatalf("event %d is %s, not %s", i, told[i], want)
		}
	}
	if told[300] != "BOOKMARK end=true" {
		t.Error(told[300])
	}
}

func TestABookmarkComesBeforeTheDeadline(t *testing.T) {
	s := openConfigMaps(t)
	first := put(t, s, key(1), configMap(key(1), "x"))
	w := startWatch(t, s, store.WatchOptions{
		Selection: store.Selection{Namespace: "elsewhere"}, ResourceVersion: first.Revision.String(),
		AllowBookmarks: true, Deadline: time.Now().Add(2300 * time.Millisecond),
	})
	last := put(t, s, key(2), configMap(key(2), "x"))
	if _, err := s.Get(t.Context(), key(2), ""); err != nil { // the cache has seen the last write
		t.Fatal(err)
	}
	events, err := w.Next(within(t), nil)
	if err != nil || len(events) != 1 || events[0].Type != watch.Bookmark || events[0].Revision < last.Revision {
		t.Errorf("%v, %v; the last revision is %d", events, err, last.Revision)
	}
}

func TestAWatchFromAFutureRevisionSeesNothingBeforeIt(t *testing.T) {
	s := openConfigMaps(t)
	now := put(t, s, key(1), configMap(key(1), "x"))
	w := startWatch(t, s, store.WatchOptions{ResourceVersion: (now.Revision + 2).String()})
	for i := 2; i <= 4; i++ {
		put(t, s, key(i), configMap(key(i), "x"))
	}
	if d := cmp.Diff([]string{"ADDED c00004=x"}, next(t, w, 1)); d != "" {
		t.Error(d)
	}
}

func TestASlowWatcherFallsOffTheRing(t *testing.T) {
	db := openDB(t, startEtcd(t, ""), func(o *store.Options) { o.HistoryBytes = 64 << 10 })
	s := db.Open(configMaps())
	first := put(t, s, key(1), configMap(key(1), "x"))
	slow := startWatch(t, s, store.WatchOptions{ResourceVersion: first.Revision.String()})
	kept := startWatch(t, s, store.WatchOptions{
		Selection: store.Selection{Namespace: "quiet"}, ResourceVersion: first.Revision.String()})
	waiting := make(chan []string)
	go func() { waiting <- next(t, kept, 1) }()
	filler := strings.Repeat("x", 4<<10)
	for i := range 100 {
		put(t, s, key(1), configMap(key(1), fmt.Sprint(filler, i)))
	}
	if _, err := s.Get(t.Context(), key(1), ""); err != nil {
		t.Fatal(err)
	}
	_, err := slow.Next(within(t), nil)
	if !apierrors.IsResourceExpired(err) || !strings.HasPrefix(err.Error(), fmt.Sprintf("too old resource version: %d (", first.Revision)) {
		t.Errorf("a watcher that fell behind gets %v", err)
	}
	if _, err := s.Watch(t.Context(), store.WatchOptions{ResourceVersion: first.Revision.String()}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from a revision that is gone gets %v", err)
	}
	// One that was idle all the while has missed nothing.
	k := store.Key{Namespace: "quiet", Name: "q"}
	put(t, s, k, configMap(k, "y"))
	if d := cmp.Diff([]string{"ADDED q=y"}, <-waiting); d != "" {
		t.Error(d)
	}
}

// TestNoEventIsLostOrDoubled writes at random while watchers of all kinds come, go and reconnect; what each has pieced
// together must be what is stored.
func TestNoEventIsLostOrDoubled(t *testing.T) {
	s := openConfigMaps(t)
	const objects, writes, writers = 40, 400, 4
	selections := []store.Selection{
		{}, {Namespace: "default"}, {Name: "c00003"}, {Namespace: "default", Name: "c00005"},
		{Labels: labels.SelectorFromSet(labels.Set{"l": "1"})},
	}
	written := make(chan struct{})
	var watchers sync.WaitGroup
	for _, sel := range selections {
		for _, batch := range []int{1, 7, 1000} {
			watchers.Go(func() { follow(t, s, sel, batch, written) })
		}
	}
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range writes {
				k := key(random.IntN(objects))
				if random.IntN(4) == 0 {
					_, err := s.Update(t.Context(), k, func(*store.Entry) (store.Outcome, error) { return store.Outcome{Delete: true}, nil })
					if err != nil && !apierrors.IsNotFound(err) {
						t.Error(err)
					}
					continue
				}
				put(t, s, k, configMap(k, fmt.Sprint(n, i), "l", fmt.Sprint(random.IntN(2))))
			}
		})
	}
	all.Wait()
	close(written)
	watchers.Wait()
}

// follow keeps a copy of what sel selects by list and watch, with a new watch after some events, and compares it with
// the store's own in the end.
func follow(t *testing.T, s *store.Store, sel store.Selection, reconnect int, written <-chan struct{}) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	have := map[store.Key]store.Revision{}
	list, err := s.List(ctx, store.ListOptions{Selection: sel})
	if err != nil {
		t.Error(err)
		return
	}
	for k, r := range contents(list) {
		have[k] = r
	}
	at := list.Revision
	for done := false; !done; {
		end := store.Revision(-1)
		select {
		case <-written:
			done = true
			final, err := s.List(ctx, store.ListOptions{Selection: sel})
			if err != nil {
				t.Error(err)
				return
			}
			end = final.Revision
		default:
		}
		w, err := s.Watch(ctx, store.WatchOptions{Selection: sel, ResourceVersion: at.String()})
		if err != nil {
			t.Error(err)
			return
		}
		at = piece(t, ctx, w, have, at, reconnect, end)
		w.Close()
	}
	final, err := s.List(ctx, store.ListOptions{Selection: sel})
	if err != nil {
		t.Error(err)
		return
	}
	if d := cmp.Diff(contents(final), have); d != "" {
		t.Errorf("%+v: %s", sel, d)
	}
}

// piece applies events to have until there have been enough, or nothing more comes.
func piece(t *testing.T, ctx context.Context, w *store.Watcher, have map[store.Key]store.Revision, at store.Revision, enough int, end store.Revision) store.Revision {
	for n := 0; n < enough || end >= 0; {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		events, err := w.Next(short, nil)
		cancel()
		if err != nil {
			if short.Err() == nil {
				t.Error(err)
			}
			return at
		}
		n += len(events)
		for _, e := range events {
			if e.Revision <= at {
				t.Errorf("revision %d came after %d", e.Revision, at)
			}
			at = e.Revision
			old, had := have[e.Entry.Key]
			if had != (e.Type != watch.Added) || old >= e.Revision {
				t.Errorf("%s %s@%d, known at %d", e.Type, e.Entry.Name, e.Revision, old)
			}
			have[e.Entry.Key] = e.Revision
			if e.Type == watch.Deleted {
				delete(have, e.Entry.Key)
			}
		}
	}
	return at
}

// contents are a list's keys and revisions.
func contents(l *store.List) map[store.Key]store.Revision {
	all := map[store.Key]store.Revision{}
	for _, b := range l.Blocks {
		for _, e := range b.Entries {
			all[e.Key] = e.Revision
		}
	}
	return all
}
