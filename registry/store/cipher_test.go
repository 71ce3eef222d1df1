package store_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/knarr-dev/knarr/registry/store"
)

// toyCipher seals with the first of its keys, a letter, and opens with any. It ties a value to its key in etcd.
type toyCipher struct {
	mu     sync.Mutex
	keys   string
	opened int
}

func (c *toyCipher) use(keys string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keys
}

func (c *toyCipher) Seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := []byte("k8s:enc:" + c.keys[:1] + ":" + key + ":")
	reversed := slices.Clone(plain)
	slices.Reverse(reversed)
	return append(head, reversed...), nil
}

func (c *toyCipher) Open(_ context.Context, key string, sealed []byte) ([]byte, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
	for i := range c.keys {
		if rest, ok := bytes.CutPrefix(sealed, []byte("k8s:enc:"+c.keys[i:i+1]+":"+key+":")); ok {
			plain := slices.Clone(rest)
			slices.Reverse(plain)
			return plain, i > 0, nil
		}
	}
	return nil, false, errors.New("no key fits")
}

func TestValuesAreSealedInEtcdAndPlainInMemory(t *testing.T) {
	etcd, c := startEtcd(t, ""), &toyCipher{keys: "a"}
	sealed := func(o *store.Options) { o.Cipher = func(schema.GroupResource) store.Cipher { return c } }
	db := openDB(t, etcd, sealed)
	s := db.Open(configMaps())
	list(t, s, store.ListOptions{}) // the cache is filled: from here on the stream brings what is written
	written := put(t, s, key(1), configMap(key(1), "cargo"))
	raw := func() string {
		r, err := etcd.Client().Get(t.Context(), "/registry/configmaps/default/c00001")
		if err != nil || len(r.Kvs) != 1 {
			t.Fatal(err)
		}
		return string(r.Kvs[0].Value)
	}
	if v := raw(); !strings.HasPrefix(v, "k8s:enc:a:/registry/configmaps/default/c00001:") || strings.Contains(v, "cargo") {
		t.Errorf("etcd holds %q", v)
	}
	read, err := s.Get(t.Context(), key(1), "")
	if err != nil || data(t, read) != "cargo" || read.Revision != written.Revision {
		t.Errorf("%v %v", read, err)
	}
	if c.opened != 0 {
		t.Errorf("what was written here was opened %d times", c.opened)
	}

	// What changes nothing writes nothing, unless another key is to be used now.
	if e := put(t, s, key(1), configMap(key(1), "cargo")); e.Revision != written.Revision {
		t.Error("written anew")
	}
	c.use("ba")
	anew := put(t, s, key(1), configMap(key(1), "cargo"))
	if !strings.HasPrefix(raw(), "k8s:enc:b:") || anew.Revision == written.Revision {
		t.Errorf("under a former key: %q", raw())
	}

	// What is no resource of the API is kept in plain.
	plain := configMaps()
	plain.Prefix, plain.Unsealed = "ranges", true
	put(t, db.Open(plain), key(2), configMap(key(2), "plain"))
	if r, err := etcd.Client().Get(t.Context(), "/registry/ranges/default/c00002"); err != nil || !bytes.HasPrefix(r.Kvs[0].Value, []byte("k8s\x00")) {
		t.Errorf("%q %v", r.Kvs[0].Value, err)
	}
}

func TestAValueThatCannotBeOpenedFailsItsReadersUntilTheKeyIsThere(t *testing.T) {
	etcd, c := startEtcd(t, ""), &toyCipher{keys: "ab"}
	sealed := func(o *store.Options) { o.Cipher = func(schema.GroupResource) store.Cipher { return c } }
	put(t, openDB(t, etcd, sealed).Open(configMaps()), key(1), configMap(key(1), "cargo"))
	c.use("b")
	s := openDB(t, etcd, sealed).Open(configMaps())
	put(t, s, key(2), configMap(key(2), "other"))
	told := make(chan string, 10)
	if err := s.Follow(t.Context(), func(_, now *store.Entry) {
		if now != nil {
			if o, err := now.Object(); err == nil {
				told <- o.GetName()
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if name := <-told; name != "c00002" {
		t.Errorf("told of %s", name)
	}
	_, err := s.Get(t.Context(), key(1), "")
	if !apierrors.IsInternalError(err) || err.Error() != "Internal error occurred: no key fits" {
		t.Errorf("get: %v", err)
	}
	_, err = s.List(t.Context(), store.ListOptions{})
	if !apierrors.IsInternalError(err) || err.Error() != `Internal error occurred: unable to transform key "/registry/configmaps/default/c00001": no key fits` {
		t.Errorf("list: %v", err)
	}
	if _, err := s.Create(t.Context(), key(1), configMap(key(1), "mine"), 0); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create: %v", err)
	}
	_, err = openDB(t, etcd, nil).Open(configMaps()).Get(t.Context(), key(1), "")
	if err == nil || err.Error() != "Internal error occurred: identity transformer tried to read encrypted data" {
		t.Errorf("without keys: %v", err)
	}

	c.use("ba")
	select {
	case name := <-told:
		if name != "c00001" {
			t.Errorf("told of %s", name)
		}
	case <-time.After(time.Minute):
		t.Fatal("the key is there, and nobody looks")
	}
	if e, err := s.Get(within(t), key(1), ""); err != nil || data(t, e) != "cargo" {
		t.Errorf("with the key: %v", err)
	}
}
