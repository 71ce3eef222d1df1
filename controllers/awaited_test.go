package controllers

import (
	"testing"
	"time"

	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

// caughtUp is an informer that has seen a revision.
type caughtUp struct {
	cache.SharedIndexInformer
	store cache.Store
}

func (c caughtUp) GetStore() cache.Store { return c.store }

// A key that comes back late has not waited for long: whoever asked the API for all objects then, at each turn of each key of
// thousands, would ask for little else.
func TestWhatWasSeenLongAgoIsNotAskedFor(t *testing.T) {
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	if err := store.Replace(nil, "5"); err != nil {
		t.Fatal(err)
	}
	s := &Source{informer: caughtUp{store: store}, config: &Config{}} // no client: a question would be the end
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	for name, c := range map[string]struct {
		revision string
		age      time.Duration
		holds    bool
	}{
		"seen by now":      {"5", 0, false},
		"seen long ago":    {"4", time.Hour, false},
		"not seen as yet":  {"6", patience / 2, true},
		"seen in the end":  {"5", patience, false},
		"nothing was done": {"", time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			var a awaited
			a.init(clock, func(Key) {})
			k := Key{Name: "k"}
			if c.revision != "" {
				a.set(k, func(m *marks) { m.revision(s, c.revision) })
			}
			clock.Step(c.age)
			if got := a.holds(t.Context(), k); got != c.holds {
				t.Errorf("it is held: %v", got)
			}
		})
	}
}
