package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knarr-dev/knarr/registry/store"
)

func list(t testing.TB, s *store.Store, o store.ListOptions) *store.List {
	t.Helper()
	l, err := s.List(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// names are the listed objects as "c00001=data".
func names(t testing.TB, l *store.List) []string {
	t.Helper()
	all := []string{}
	for _, b := range l.Blocks {
		for _, e := range b.Entries {
			all = append(all, e.Name+"="+data(t, e))
		}
	}
	return all
}

func numbered(from, to int, data string) []string {
	all := []string{}
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("c%05d=%s", i, data))
	}
	return all
}

func TestPagesOfOneListAreOneState(t *testing.T) {
	s := openConfigMaps(t)
	for i := range 200 {
		put(t, s, key(i), configMap(key(i), "old"))
	}
	for _, scope := range []string{"", "default"} {
		first := list(t, s, store.ListOptions{Limit: 30, Selection: store.Selection{Namespace: scope}})
		got, at, token := names(t, first), first.Revision, first.Continue
		if *first.Remaining != 170 {
			t.Errorf("%d remain after the first page", *first.Remaining)
		}
		for page := 1; token != ""; page++ {
			// Between the pages everything changes.
			for i := range 10 {
				put(t, s, key(20*page+i), configMap(key(20*page+i), fmt.Sprint("new", scope, page)))
			}
			put(t, s, key(1000+page), configMap(key(1000+page), "new"))
			l := list(t, s, store.ListOptions{Limit: 30, Continue: token, Selection: store.Selection{Namespace: scope}})
			if l.Revision != at {
				t.Fatalf("page %d is at %d, the first at %d", page, l.Revision, at)
			}
			got, token = append(got, names(t, l)...), l.Continue
		}
		if d := cmp.Diff(numbered(0, 200, "old"), got); d != "" {
			t.Error(d)
		}
		for i := range 200 { // for the next scope
			put(t, s, key(i), configMap(key(i), "old"))
		}
		for i := range 10 {
			if i > 0 && i < 7 {
				remove(t, s, key(1000+i))
			}
		}
	}
}

func TestAListAtARevisionIsTheStateThen(t *testing.T) {
	e := startEtcd(t, "")
	db := openDB(t, e, func(o *store.Options) { o.HistoryBytes = 1 << 10 }) // the past is soon beyond the ring
	long := openDB(t, e, nil)
	for name, s := range map[string]*store.Store{"from etcd": db.Open(configMaps()), "from the ring": long.Open(configMaps())} {
		t.Run(name, func(t *testing.T) {
			list(t, s, store.ListOptions{}) // fill the cache
			states := map[store.Revision][]string{}
			for i := range 60 {
				k := key(i % 7)
				if i%5 == 4 {
					if _, err := s.Get(t.Context(), k, ""); err == nil {
						remove(t, s, k)
					}
				} else {
					put(t, s, k, configMap(k, fmt.Sprint(name, i)))
				}
				now := list(t, s, store.ListOptions{})
				states[now.Revision] = names(t, now)
			}
			for revision, want := range states {
				l := list(t, s, store.ListOptions{ResourceVersion: revision.String(), Match: metav1.ResourceVersionMatchExact})
				if d := cmp.Diff(want, names(t, l)); d != "" || l.Revision != revision {
					t.Errorf("at %d, told as %d: %s", revision, l.Revision, d)
				}
			}
		})
	}
}

func TestAnExpiredContinueOffersToGoOnInconsistently(t *testing.T) {
	e := startEtcd(t, "")
	db := openDB(t, e, func(o *store.Options) { o.HistoryBytes = 1 << 10 })
	s := db.Open(configMaps())
	for i := range 100 {
		put(t, s, key(i), configMap(key(i), "old"))
	}
	first := list(t, s, store.ListOptions{Limit: 10})
	var last *store.Entry
	for i := range 100 {
		last = put(t, s, key(i), configMap(key(i), "new"))
	}
	if _, err := e.Client().Compact(t.Context(), int64(last.Revision)); err != nil {
		t.Fatal(err)
	}
	other := openDB(t, e, nil).Open(configMaps()) // another server, or this one after a while
	_, err := other.List(t.Context(), store.ListOptions{Limit: 10, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Fatal(err)
	}
	token := err.(*apierrors.StatusError).ErrStatus.Continue
	rest := list(t, other, store.ListOptions{Continue: token})
	if d := cmp.Diff(numbered(10, 100, "new"), names(t, rest)); d != "" {
		t.Error(d)
	}
	_, err = other.List(t.Context(), store.ListOptions{ResourceVersion: first.Revision.String(), Match: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) || err.Error() != "The resourceVersion for the provided list is too old." {
		t.Error(err)
	}
}

// A token ends with the interval of compaction, however often it is used and even if nothing has changed in the collection.
func TestAContinueExpiresWithTheInterval(t *testing.T) {
	db := openDB(t, startEtcd(t, ""), func(o *store.Options) { o.CompactEvery = 50 * time.Millisecond })
	elsewhere := configMaps()
	elsewhere.Prefix = "others"
	s, others := db.Open(configMaps()), db.Open(elsewhere)
	for i := range 20 {
		put(t, s, key(i), configMap(key(i), "x"))
	}
	first := list(t, s, store.ListOptions{Limit: 10})
	for i := 0; ; i++ {
		put(t, others, key(i), configMap(key(i), "x"))
		_, err := s.List(t.Context(), store.ListOptions{Limit: 10, Continue: first.Continue})
		if apierrors.IsResourceExpired(err) {
			return
		}
		if err != nil || t.Context().Err() != nil || i > 20000 {
			t.Fatalf("after %d more writes: %v", i, err)
		}
	}
}

func TestSelectedPagesLeaveNothingOut(t *testing.T) {
	s := openConfigMaps(t)
	want := []string{}
	for i := range 300 {
		put(t, s, key(i), configMap(key(i), "x", "third", fmt.Sprint(i%3)))
		if i%3 == 1 {
			want = append(want, fmt.Sprintf("c%05d=x", i))
		}
	}
	sel := store.Selection{Labels: labels.SelectorFromSet(labels.Set{"third": "1"})}
	var got []string
	for token, first := "", true; first || token != ""; first = false {
		l := list(t, s, store.ListOptions{Selection: sel, Limit: 7, Continue: token})
		if l.Remaining != nil {
			t.Error("a selection does not know how many remain")
		}
		got, token = append(got, names(t, l)...), l.Continue
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSelections(t *testing.T) {
	s := openConfigMaps(t)
	for _, k := range []store.Key{{Namespace: "a", Name: "x"}, {Namespace: "a", Name: "y"}, {Namespace: "a-b", Name: "x"}, {Namespace: "b", Name: "x"}} {
		put(t, s, k, configMap(k, k.Namespace, "in", k.Namespace))
	}
	field := func(text string) fields.Selector { return fields.ParseSelectorOrDie(text) }
	label := func(text string) labels.Selector {
		l, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for name, c := range map[string]struct {
		selection store.Selection
		want      []string
	}{
		"everything, in etcd's order":          {store.Selection{}, []string{"x=a-b", "x=a", "y=a", "x=b"}},
		"a namespace, not those it begins":     {store.Selection{Namespace: "a"}, []string{"x=a", "y=a"}},
		"a name in a namespace":                {store.Selection{Namespace: "a", Name: "y"}, []string{"y=a"}},
		"a name that is not there":             {store.Selection{Namespace: "a", Name: "z"}, []string{}},
		"a name in any namespace":              {store.Selection{Fields: field("metadata.name=x")}, []string{"x=a-b", "x=a", "x=b"}},
		"not a name":                           {store.Selection{Fields: field("metadata.name!=x")}, []string{"y=a"}},
		"a namespace by field":                 {store.Selection{Fields: field("metadata.namespace=b")}, []string{"x=b"}},
		"a namespace by field against another": {store.Selection{Namespace: "a", Fields: field("metadata.namespace=b")}, []string{}},
		"a label":                              {store.Selection{Labels: label("in in (b,a-b)")}, []string{"x=a-b", "x=b"}},
		"no such label":                        {store.Selection{Labels: label("!in")}, []string{}},
		"a label and a field":                  {store.Selection{Labels: label("in!=a"), Fields: field("metadata.name=x")}, []string{"x=a-b", "x=b"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, names(t, list(t, s, store.ListOptions{Selection: c.selection}))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestARevisionThatIsNotThereYetIsTooLarge(t *testing.T) {
	t.Parallel()
	s := openConfigMaps(t)
	now := put(t, s, key(1), configMap(key(1), "x"))
	_, err := s.Get(t.Context(), key(1), "999999999")
	want := fmt.Sprintf("Timeout: Too large resource version: 999999999, current: %d", now.Revision)
	if err == nil || err.Error() != want || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("%v, want %s", err, want)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 1 {
		t.Errorf("retry after %d", seconds)
	}
}
