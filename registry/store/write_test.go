package store_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

func data(t testing.TB, e *store.Entry) string {
	t.Helper()
	o, err := e.Object()
	if err != nil {
		t.Fatal(err)
	}
	return o.(*corev1.ConfigMap).Data["data"]
}

func TestAnObjectIsReadAsItWasWritten(t *testing.T) {
	s := openConfigMaps(t)
	written := configMap(key(1), "x", "a", "b")
	e, err := s.Create(t.Context(), key(1), written.DeepCopy(), 0)
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.Get(t.Context(), key(1), "")
	if err != nil {
		t.Fatal(err)
	}
	o, err := read.Object()
	if err != nil {
		t.Fatal(err)
	}
	written.ResourceVersion = e.Revision.String()
	if d := cmp.Diff(written, o); d != "" {
		t.Error(d)
	}
	message, err := written.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(message, read.Proto()); d != "" {
		t.Error("the served message is not what the object marshals to:", d)
	}
}

func TestCreateOfWhatExistsIsRefused(t *testing.T) {
	s := openConfigMaps(t)
	put(t, s, key(1), configMap(key(1), "x"))
	if _, err := s.Create(t.Context(), key(1), configMap(key(1), "y"), 0); !apierrors.IsAlreadyExists(err) {
		t.Error(err)
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	s := openConfigMaps(t)
	first := put(t, s, key(1), configMap(key(1), "x"))
	if again := put(t, s, key(1), configMap(key(1), "x")); again.Revision != first.Revision {
		t.Errorf("revision %d became %d", first.Revision, again.Revision)
	}
}

func TestADeletedObjectIsReturnedUnderTheRevisionOfItsDeletion(t *testing.T) {
	s := openConfigMaps(t)
	first := put(t, s, key(1), configMap(key(1), "x"))
	gone := remove(t, s, key(1))
	o, err := gone.Object()
	if err != nil {
		t.Fatal(err)
	}
	if gone.Revision <= first.Revision || o.GetResourceVersion() != gone.Revision.String() || data(t, gone) != "x" {
		t.Errorf("%d, then %d: %v", first.Revision, gone.Revision, o)
	}
	if _, err := s.Get(t.Context(), key(1), ""); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func TestNoIncrementIsLostAmongManyWriters(t *testing.T) {
	s := openConfigMaps(t)
	put(t, s, key(0), configMap(key(0), "0"))
	const writers, turns = 16, 25
	increment := func(current *store.Entry) (store.Outcome, error) {
		o, err := current.Object()
		if err != nil {
			return store.Outcome{}, err
		}
		c := o.(*corev1.ConfigMap).DeepCopy()
		n, err := strconv.Atoi(c.Data["data"])
		c.Data["data"] = strconv.Itoa(n + 1)
		return store.Outcome{Put: c}, err
	}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range turns {
				if _, err := s.Update(t.Context(), key(0), increment); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	e, err := s.Get(t.Context(), key(0), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := data(t, e); got != strconv.Itoa(writers*turns) {
		t.Errorf("%s increments arrived of %d", got, writers*turns)
	}
}

func TestAnObjectTooLargeForEtcdIsStoredWithoutManagedFields(t *testing.T) {
	s := openConfigMaps(t)
	large := func(megabytes int) *corev1.ConfigMap { return configMap(key(1), strings.Repeat("x", megabytes<<20)) }
	c := large(1)
	c.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: strings.Repeat("m", 1<<20)}}
	e, err := s.Create(t.Context(), key(1), c, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := e.Object(); err != nil || o.GetManagedFields() != nil {
		t.Errorf("%d managed fields, %v", len(o.GetManagedFields()), err)
	}
	_, err = s.Update(t.Context(), key(1), func(*store.Entry) (store.Outcome, error) { return store.Outcome{Put: large(2)}, nil })
	if err == nil || err.Error() != "etcdserver: request is too large" {
		t.Error(err)
	}
}

// TestARefusalIsDecidedOnThePresent has decide refuse the state that the cache of one server still holds when another
// has already changed it.
func TestARefusalIsDecidedOnThePresent(t *testing.T) {
	e := startEtcd(t, "")
	here, there := openDB(t, e, nil).Open(configMaps()), openDB(t, e, nil).Open(configMaps())
	for i := range 200 {
		put(t, here, key(1), configMap(key(1), "no"))
		list(t, here, store.ListOptions{})
		put(t, there, key(1), configMap(key(1), "yes"))
		_, err := here.Update(t.Context(), key(1), func(current *store.Entry) (store.Outcome, error) {
			if data(t, current) == "no" {
				return store.Outcome{}, errors.New("refused")
			}
			return store.Outcome{}, nil
		})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

func TestADroppedStoreEndsItsWatches(t *testing.T) {
	db := openDB(t, startEtcd(t, ""), nil)
	old := db.Open(configMaps())
	put(t, old, key(1), configMap(key(1), "x"))
	w := startWatch(t, old, store.WatchOptions{})
	next(t, w, 1)
	s := db.Open(configMaps())
	if _, err := w.Next(within(t), nil); !apierrors.IsResourceExpired(err) {
		t.Error(err)
	}
	if _, err := old.List(t.Context(), store.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"c00001=x"}, names(t, list(t, s, store.ListOptions{}))); d != "" {
		t.Error(d)
	}
}

func TestNewObjectIsWrittenBareAndReadWhole(t *testing.T) {
	config := pods()
	config.Bare = func(o store.Object) store.Object {
		p := *o.(*corev1.Pod)
		p.Status.Phase = ""
		return &p
	}
	config.Complete = func(o store.Object) { o.(*corev1.Pod).Status.Phase = corev1.PodPending }
	etcd := startEtcd(t, "")
	s := openDB(t, etcd, nil).Open(config)
	if _, err := s.List(t.Context(), store.ListOptions{}); err != nil { // the cache has the writes' hints from here on
		t.Fatal(err)
	}
	k := store.Key{Namespace: "a", Name: "p"}
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	}
	stored := func() bool {
		value, err := etcd.Client().Get(t.Context(), "/registry/pods/a/p")
		if err != nil || len(value.Kvs) != 1 {
			t.Fatal(err, value)
		}
		return bytes.Contains(value.Kvs[0].Value, []byte("Pending"))
	}
	created, err := s.Create(t.Context(), k, pod(), 0)
	if err != nil {
		t.Fatal(err)
	}
	read, err := created.Object()
	if err != nil || read.(*corev1.Pod).Status.Phase != corev1.PodPending || stored() {
		t.Errorf("created: got %v %v, and the default stored: %v", read, err, stored())
	}
	first := put(t, s, k, pod())
	if first.Revision == created.Revision || !stored() {
		t.Errorf("the first update writes the default: got revision %v after %v, stored: %v", first.Revision, created.Revision, stored())
	}
	if second := put(t, s, k, pod()); second.Revision != first.Revision {
		t.Errorf("a further one has nothing to write: got revision %v after %v", second.Revision, first.Revision)
	}
}

// The cache need not know of a write when the next one at the same key is decided on, as when a pod is marked and removed.
func TestWhatWasJustWrittenIsChangedAtTheFirstTry(t *testing.T) {
	e := startEtcd(t, "")
	counted := &lostTxns{KV: e.Client().KV}
	s := openDB(t, e, func(o *store.Options) {
		client := clientv3.NewCtxClient(t.Context())
		client.KV, client.Watcher, client.Lease = counted, e.Client().Watcher, e.Client().Lease
		o.Client = client
	}).Open(configMaps())
	if _, err := s.List(t.Context(), store.ListOptions{}); err != nil { // from here on there is a cache
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := s.Create(t.Context(), key(i), configMap(key(i), "new"), 0); err != nil {
			t.Fatal(err)
		}
		marked := put(t, s, key(i), configMap(key(i), "marked"))
		if gone := remove(t, s, key(i)); gone.Revision <= marked.Revision {
			t.Fatalf("marked at %v, removed at %v", marked.Revision, gone.Revision)
		}
	}
	if n := counted.lost.Load(); n > 0 {
		t.Errorf("%d transactions were decided on a past that was over", n)
	}
}

// lostTxns counts transactions whose condition did not hold.
type lostTxns struct {
	clientv3.KV
	lost atomic.Int32
}

func (l *lostTxns) Txn(ctx context.Context) clientv3.Txn { return &lostTxn{l.KV.Txn(ctx), l} }

type lostTxn struct {
	clientv3.Txn
	of *lostTxns
}

func (t *lostTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *lostTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *lostTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *lostTxn) Commit() (*clientv3.TxnResponse, error) {
	r, err := t.Txn.Commit()
	if err == nil && !r.Succeeded {
		t.of.lost.Add(1)
	}
	return r, err
}
