package store

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRulesOfLists(t *testing.T) {
	const notOlder, exact = metav1.ResourceVersionMatchNotOlderThan, metav1.ResourceVersionMatchExact
	at7 := continueToken{"c\x00", 7}.String()
	latest := continueToken{"c\x00", -1}.String()
	current := wait{current: true}
	for name, c := range map[string]struct {
		o    ListOptions
		want listPlan
	}{
		"nothing said: consistent":                      {ListOptions{}, listPlan{wait: current}},
		"a limit alone: consistent, in pages":           {ListOptions{Limit: 5}, listPlan{wait: current, limit: 5}},
		"0: any state":                                  {ListOptions{ResourceVersion: "0"}, listPlan{}},
		"0 ignores the limit":                           {ListOptions{ResourceVersion: "0", Limit: 5}, listPlan{}},
		"a revision: not older":                         {ListOptions{ResourceVersion: "7"}, listPlan{wait: wait{revision: 7}}},
		"a revision with a limit: exact":                {ListOptions{ResourceVersion: "7", Limit: 5}, listPlan{wait: wait{revision: 7}, exact: 7, limit: 5}},
		"not older than 0: any state":                   {ListOptions{ResourceVersion: "0", Match: notOlder, Limit: 5}, listPlan{}},
		"not older than a revision":                     {ListOptions{ResourceVersion: "7", Match: notOlder}, listPlan{wait: wait{revision: 7}}},
		"not older than a revision, in pages":           {ListOptions{ResourceVersion: "7", Match: notOlder, Limit: 5}, listPlan{wait: wait{revision: 7}, limit: 5}},
		"exact":                                         {ListOptions{ResourceVersion: "7", Match: exact}, listPlan{wait: wait{revision: 7}, exact: 7}},
		"exact, in pages":                               {ListOptions{ResourceVersion: "7", Match: exact, Limit: 5}, listPlan{wait: wait{revision: 7}, exact: 7, limit: 5}},
		"continue: at the first page's revision":        {ListOptions{Continue: at7, Limit: 5}, listPlan{wait: wait{revision: 7}, exact: 7, limit: 5, start: "c\x00"}},
		"continue without limit: the rest":              {ListOptions{Continue: at7}, listPlan{wait: wait{revision: 7}, exact: 7, start: "c\x00"}},
		"continue with 0":                               {ListOptions{Continue: at7, ResourceVersion: "0"}, listPlan{wait: wait{revision: 7}, exact: 7, start: "c\x00"}},
		"continue after an expired token: inconsistent": {ListOptions{Continue: latest, Limit: 5}, listPlan{wait: current, limit: 5, start: "c\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := planList(c.o, false)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(listPlan{}, wait{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestListsThatAreRefused(t *testing.T) {
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		o    ListOptions
		want string
	}{
		"a word for a revision": {ListOptions{ResourceVersion: "abc"},
			`invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax`},
		"a revision with continue": {ListOptions{Continue: continueToken{"c", 7}.String(), ResourceVersion: "7"},
			"specifying resource version is not allowed when using continue"},
		"garbage to continue": {ListOptions{Continue: "garbage"},
			`invalid continue token: continue key is not valid: invalid character '\u0081' looking for beginning of value`},
		"a token that is not base64": {ListOptions{Continue: "*"},
			"invalid continue token: continue key is not valid: illegal base64 data at input byte 0"},
		"a token of another make": {ListOptions{Continue: encode(`{"v":"v2","rv":1,"start":"a"}`)},
			"invalid continue token: continue key is not valid: server does not recognize this encoded version v2"},
		"a token without a revision": {ListOptions{Continue: encode(`{"v":"meta.k8s.io/v1","start":"a"}`)},
			"invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"},
		"a token without a start": {ListOptions{Continue: encode(`{"v":"meta.k8s.io/v1","rv":1}`)},
			"invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"},
		"a token that leads elsewhere": {ListOptions{Continue: encode(`{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}`)},
			"invalid continue token: continue key is not valid: ../secrets/a"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := planList(c.o, false); err == nil || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestRulesOfWatches(t *testing.T) {
	yes, no := true, false
	current := wait{current: true}
	for name, c := range map[string]struct {
		o    WatchOptions
		want watchPlan
	}{
		"nothing said: the present, then changes": {WatchOptions{}, watchPlan{wait: current, start: startInitial}},
		"0: any state, then changes":              {WatchOptions{ResourceVersion: "0"}, watchPlan{start: startInitial}},
		"a revision: the changes after it":        {WatchOptions{ResourceVersion: "7"}, watchPlan{start: startAfter, after: 7}},
		"initial events": {WatchOptions{SendInitialEvents: &yes},
			watchPlan{wait: current, start: startInitial, marksEnd: true}},
		"initial events of any state": {WatchOptions{SendInitialEvents: &yes, ResourceVersion: "0"},
			watchPlan{start: startInitial, marksEnd: true}},
		"initial events, not older than a revision": {WatchOptions{SendInitialEvents: &yes, ResourceVersion: "7"},
			watchPlan{wait: wait{revision: 7}, start: startInitial, after: 7, marksEnd: true}},
		"no initial events: from now on":            {WatchOptions{SendInitialEvents: &no}, watchPlan{wait: current, start: startNow}},
		"no initial events, 0: from any state on":   {WatchOptions{SendInitialEvents: &no, ResourceVersion: "0"}, watchPlan{start: startNow}},
		"no initial events: the changes after then": {WatchOptions{SendInitialEvents: &no, ResourceVersion: "7"}, watchPlan{start: startAfter, after: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := planWatch(schema.GroupResource{}, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(watchPlan{}, wait{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRulesOfGets(t *testing.T) {
	for given, want := range map[string]wait{"": {current: true}, "0": {}, "7": {revision: 7}} {
		if got, err := planGet(given, false); err != nil || got != want {
			t.Errorf("%q: %+v, %v", given, got, err)
		}
	}
	want := `resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax`
	if _, err := planGet("abc", false); err == nil || err.Error() != want {
		t.Error(err)
	}
	if _, err := planGet("abc", true); err == nil || err.Error() != "invalid resource version: "+want {
		t.Error(err)
	}
}

func TestAResourceWithoutUpstreamsCacheIsListedInPagesAtAnyState(t *testing.T) {
	plan, err := planList(ListOptions{ResourceVersion: "0", Limit: 5}, true)
	if want := (listPlan{limit: 5}); err != nil || plan != want {
		t.Errorf("%+v, %v", plan, err)
	}
}

func FuzzContinueToken(f *testing.F) {
	f.Add("garbage")
	f.Add(continueToken{"ns/name\x00", 12}.String())
	f.Add(continueToken{"name", -1}.String())
	for _, text := range []string{`{"v":"meta.k8s.io/v1","rv":1,"start":"../x"}`, `{"v":"meta.k8s.io/v1","rv":1,"start":"//"}`, `{"v":"v2"}`, `[]`, `{`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(text)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := decodeContinue(text)
		if err != nil {
			return
		}
		if again, err := decodeContinue(token.String()); err != nil || again != token {
			t.Errorf("%q is %+v; written and read again %+v, %v", text, token, again, err)
		}
	})
}
