package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"github.com/google/go-cmp/cmp"
)

// TestTreeIsASortedMap makes random changes to a tree and to a map, keeps some old roots with copies of the map at that
// time, and compares them all in the end.
func TestTreeIsASortedMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		model := map[Key]Revision{}
		type version struct {
			root  *node
			paths []string
		}
		var versions []version
		var root *node
		span := 1 + random.IntN(5000)
		for turn := range 60 {
			ed := edited(root)
			for range random.IntN(300) {
				k := Key{[]string{"a", "a-b", "a0", "b"}[random.IntN(4)], fmt.Sprint("n", random.IntN(span))}
				if turn%20 > 12 || random.IntN(3) == 0 {
					removed := ed.remove(k)
					if (removed != nil) != (model[k] != 0) {
						t.Fatalf("seed %d: remove %v: %v", seed, k, removed)
					}
					delete(model, k)
					continue
				}
				r := Revision(random.Int64())
				old := ed.set(&Entry{Key: k, Revision: r})
				if revisionOf(old) != model[k] {
					t.Fatalf("seed %d: set %v replaced %v", seed, k, old)
				}
				model[k] = r
			}
			root = ed.root
			versions = append(versions, version{root, modelPaths(model)})
		}
		for i, v := range versions {
			if d := cmp.Diff(v.paths, treePaths(v.root)); d != "" {
				t.Fatalf("seed %d, version %d: %s", seed, i, d)
			}
			checkTree(t, v.root)
			for rank, path := range v.paths {
				name, _, _ := strings.Cut(path, "@")
				if got := v.root.rank(parseKey(name)); got != rank {
					t.Fatalf("seed %d: %s has rank %d, not %d", seed, name, got, rank)
				}
			}
		}
	}
}

func modelPaths(model map[Key]Revision) []string {
	paths := []string{}
	for k, r := range model {
		paths = append(paths, fmt.Sprint(k.path(), "@", r))
	}
	slices.SortFunc(paths, func(a, b string) int {
		a, _, _ = strings.Cut(a, "@")
		b, _, _ = strings.Cut(b, "@")
		return strings.Compare(a, b)
	})
	return paths
}

func treePaths(root *node) []string {
	paths := []string{}
	root.all(func(e *Entry) { paths = append(paths, fmt.Sprint(e.path(), "@", e.Revision)) })
	return paths
}

// checkTree proves the counts, and that all leaves are equally deep and none is empty.
func checkTree(t *testing.T, root *node) {
	t.Helper()
	depths := map[int]bool{}
	var check func(n *node, depth int) int
	check = func(n *node, depth int) int {
		count := len(n.entries)
		if n.leaf() {
			depths[depth] = true
		}
		for _, c := range n.children {
			count += check(c, depth+1)
		}
		if count != n.count || count == 0 || width(n) > fanout {
			t.Fatalf("a node of width %d says %d and has %d", width(n), n.count, count)
		}
		return count
	}
	if root != nil {
		check(root, 0)
	}
	if len(depths) > 1 {
		t.Fatalf("leaves at depths %v", depths)
	}
}

func TestKeysAreInEtcdsOrder(t *testing.T) {
	keys := []Key{{"a", "x"}, {"a-b", "x"}, {"a", "z"}, {"ab", "a"}, {"b", ""}, {"a.b", "y"}, {"a0", "q"}}
	for _, a := range keys {
		for _, b := range keys {
			want := strings.Compare(a.path(), b.path())
			if got := a.compare(b); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("%v against %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestALeafsMemosLiveUntilOneOfItsEntriesChanges(t *testing.T) {
	ed := edited(nil)
	for i := range 1000 {
		ed.set(&Entry{Key: Key{Name: fmt.Sprintf("n%05d", i)}, Revision: 1})
	}
	made := 0
	list := func(root *node) {
		root.walk(0, root.size(), func(run []*Entry, leaf *node) bool {
			_, _ = Block{run, leaf}.Memo(0, func([]*Entry) ([]byte, error) { made++; return []byte{}, nil })
			return true
		})
	}
	list(ed.root)
	first := made
	list(ed.root)
	if made != first {
		t.Errorf("a second walk made %d blocks again", made-first)
	}
	next := edited(ed.root)
	next.set(&Entry{Key: Key{Name: "n00500"}, Revision: 2})
	list(next.root)
	if made != first+1 {
		t.Errorf("one change made %d blocks again", made-first)
	}
}

// What has been superseded is garbage as soon as nobody holds a root that it belongs to, however old the nodes beside it are.
func TestATreeHoldsNothingButItsEntries(t *testing.T) {
	entry := func(i int, r Revision) *Entry { return &Entry{Key: Key{Name: fmt.Sprintf("%04d", i)}, Revision: r} }
	var entries []*Entry
	for i := range 4 * fanout {
		entries = append(entries, entry(i, 1))
	}
	root := treeOf(entries)
	clear(entries)
	change := func(i int, r Revision) {
		ed := edited(root)
		ed.set(entry(i, r))
		root = ed.root
	}
	change(0, 2) // the leaf of 0 is from now on that of an edit whose tree has the entry of the last key under revision 1
	last := 4*fanout - 1
	superseded := weak.Make(root.get(entry(last, 0).Key))
	change(last, 3)
	runtime.GC()
	if superseded.Value() != nil {
		t.Error("the tree holds on to an entry that is not in it")
	}
	if e := root.get(entry(0, 0).Key); e.Revision != 2 {
		t.Errorf("revision %v", e.Revision)
	}
	runtime.KeepAlive(root)
}
