package store_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/embedded"
)

// kept is a key and its value as a real kube-apiserver has written them.
type kept struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

func readFixture(t *testing.T) []kept {
	t.Helper()
	f, err := os.Open("testdata/kube-apiserver-1.36.3.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []kept
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var k kept
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

// TestObjectsOfARealClusterAreReadAndWrittenTheSame puts what kube-apiserver 1.36.3 has stored under knarr's rows. Every
// object must be found under its key, and, when it is stored again unchanged, be the very same bytes.
func TestObjectsOfARealClusterAreReadAndWrittenTheSame(t *testing.T) {
	e := startEtcd(t, "")
	fixture := map[string][]byte{}
	for _, k := range readFixture(t) {
		fixture[k.Key] = k.Value
		if _, err := e.Client().Put(t.Context(), k.Key, string(k.Value)); err != nil {
			t.Fatal(err)
		}
	}
	r := registry.New(openDB(t, e, nil), registry.Builtin())
	found := map[string]bool{}
	for _, row := range r.Rows() {
		s := r.Store(row.Group, row.Plural)
		if s == nil {
			continue
		}
		for _, b := range list(t, s, store.ListOptions{}).Blocks {
			for _, entry := range b.Entries {
				path := "/registry/" + row.Prefix + "/" + strings.TrimPrefix(entry.Namespace+"/"+entry.Name, "/")
				found[path] = true
				checkIdentity(t, entry)
				restore(t, e.Client().Get, s, entry, path, fixture[path])
			}
		}
	}
	for k := range fixture {
		for _, row := range r.Rows() {
			if row.Prefix != "" && strings.HasPrefix(k, "/registry/"+row.Prefix+"/") && !found[k] {
				t.Errorf("%s is not found among %s", k, row.Plural)
			}
		}
	}
	restoreCustom(t, e, fixture)
}

// restoreCustom does the same with a custom resource, whose row comes at run time.
func restoreCustom(t *testing.T, e *embedded.Etcd, fixture map[string][]byte) {
	s := openDB(t, e, nil).Open(store.Config{
		Resource: schema.GroupResource{Group: "example.com", Resource: "widgets"},
		Kind:     schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"},
		Prefix:   "example.com/widgets", Namespaced: true, JSON: true,
		New: func() store.Object { return new(unstructured.Unstructured) },
	})
	entry, err := s.Get(t.Context(), store.Key{Namespace: "fix", Name: "w"}, "")
	if err != nil {
		t.Fatal(err)
	}
	o, err := entry.Object()
	if err != nil {
		t.Fatal(err)
	}
	spec := o.(*unstructured.Unstructured).Object["spec"]
	want := map[string]any{"false": int64(3), "f": 1.5, "list": []any{"a", "<&>"}}
	if d := cmp.Diff(any(want), spec); d != "" || o.GetResourceVersion() != entry.Revision.String() {
		t.Error(o.GetResourceVersion(), d)
	}
	const path = "/registry/example.com/widgets/fix/w"
	restore(t, e.Client().Get, s, entry, path, fixture[path])
}

// restore stores an entry's object anew and compares the bytes in etcd with what they were.
func restore(t *testing.T, get getter, s *store.Store, entry *store.Entry, path string, want []byte) {
	t.Helper()
	_, err := s.Update(t.Context(), entry.Key, func(current *store.Entry) (store.Outcome, error) {
		o, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		return store.Outcome{Put: o.DeepCopyObject().(store.Object)}, nil
	})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	response, err := get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Kvs[0].Value; !bytes.Equal(got, want) {
		t.Errorf("%s is stored as\n%q\nkube-apiserver stores\n%q", path, got, want)
	}
}

// getter reads a key of etcd.
type getter = func(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error)
