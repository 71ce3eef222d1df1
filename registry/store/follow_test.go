package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry/store"
)

// told collects what a follower is told.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (x *told) changed(old, now *store.Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case old == nil:
		x.lines = append(x.lines, "new "+now.Name)
	case now == nil:
		x.lines = append(x.lines, "gone "+old.Name)
	default:
		x.lines = append(x.lines, "changed "+now.Name)
	}
}

func (x *told) want(t *testing.T, lines ...string) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if d := cmp.Diff(lines, x.lines); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
	x.lines = nil
}

func TestFollowTellsWhatThereIsAndThenEachWriteBeforeItIsAnswered(t *testing.T) {
	config := configMaps()
	config.Governs = true
	s := openDB(t, startEtcd(t, ""), nil).Open(config)
	at := func(name string) store.Key { return store.Key{Namespace: "a", Name: name} }
	put(t, s, at("first"), configMap(at("first"), "1"))
	var x told
	if err := s.Follow(t.Context(), x.changed); err != nil {
		t.Fatal(err)
	}
	x.want(t, "new first")
	for i := range 20 {
		name := fmt.Sprint("n", i)
		put(t, s, at(name), configMap(at(name), "1"))
		x.want(t, "new "+name)
		put(t, s, at(name), configMap(at(name), "2"))
		x.want(t, "changed "+name)
	}
	remove(t, s, at("first"))
	x.want(t, "gone first")
}

func TestFollowersKnowWhatIsWrittenOnceItHasSettled(t *testing.T) {
	s := openDB(t, startEtcd(t, ""), nil).Open(configMaps())
	at := func(name string) store.Key { return store.Key{Namespace: "a", Name: name} }
	s.Settle(t.Context()) // nothing is followed, nothing is waited for
	var x told
	if err := s.Follow(t.Context(), x.changed); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		name := fmt.Sprint("n", i)
		put(t, s, at(name), configMap(at(name), "1"))
		s.Settle(t.Context())
		x.want(t, "new "+name)
		remove(t, s, at(name))
		s.Settle(t.Context())
		x.want(t, "gone "+name)
	}
}
