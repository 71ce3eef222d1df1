package store_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/embedded"
)

// remote is an etcd that is reached over the network, through a door that the test can close.
type remote struct {
	etcd   *embedded.Etcd
	client *clientv3.Client
	door   *door
}

func startRemote(t *testing.T, dir string) *remote {
	t.Helper()
	address := freeAddress(t)
	e, err := embedded.Start(embedded.Config{Dir: dir, ListenClients: "http://" + address, NoSync: true, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	d := openDoor(t, address)
	client, err := store.Dial([]string{"http://" + d.listener.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &remote{e, client, d}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *remote) open(t *testing.T, change func(*store.Options)) *store.DB {
	t.Helper()
	return openDB(t, r.etcd, func(o *store.Options) {
		o.Client, o.Revision = r.client, nil
		if change != nil {
			change(o)
		}
	})
}

func TestConsistentReadsOverTheNetwork(t *testing.T) {
	r := startRemote(t, filepath.Join(t.TempDir(), "etcd"))
	here, there := r.open(t, nil).Open(configMaps()), openDB(t, r.etcd, nil).Open(configMaps())
	list(t, here, store.ListOptions{})
	for i := range 200 {
		written := put(t, there, key(i%5), configMap(key(i%5), fmt.Sprint(i)))
		read, err := here.Get(t.Context(), key(i%5), "")
		if err != nil || read.Revision < written.Revision {
			t.Fatalf("write %d is at %d; a read after it got %v, %v", i, written.Revision, read, err)
		}
	}
}

func TestARevisionMadeOutsideOfTheRootIsReached(t *testing.T) {
	e := startEtcd(t, "")
	s := openDB(t, e, nil).Open(configMaps())
	put(t, s, key(1), configMap(key(1), "x"))
	list(t, s, store.ListOptions{})
	r, err := e.Client().Put(t.Context(), "/elsewhere", "x")
	if err != nil {
		t.Fatal(err)
	}
	if l := list(t, s, store.ListOptions{}); int64(l.Revision) < r.Header.Revision {
		t.Errorf("a consistent list is at %d, etcd at %d", l.Revision, r.Header.Revision)
	}
}

func TestWithoutEtcdReadsOfAnyStateGoOnAndTheRestFailsInTime(t *testing.T) {
	t.Parallel()
	r := startRemote(t, filepath.Join(t.TempDir(), "etcd"))
	s := r.open(t, nil).Open(configMaps())
	first := put(t, s, key(1), configMap(key(1), "x"))
	list(t, s, store.ListOptions{})
	w := startWatch(t, s, store.WatchOptions{ResourceVersion: first.Revision.String()})

	r.door.close()
	if d := cmp.Diff([]string{"c00001=x"}, names(t, list(t, s, store.ListOptions{ResourceVersion: "0"}))); d != "" {
		t.Error(d)
	}
	exact := store.ListOptions{ResourceVersion: first.Revision.String(), Match: "Exact"}
	if d := cmp.Diff([]string{"c00001=x"}, names(t, list(t, s, exact))); d != "" {
		t.Error(d)
	}
	start := time.Now()
	if _, err := s.Get(t.Context(), key(1), ""); !apierrors.IsTimeout(err) && !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a consistent read gets %v", err)
	}
	if _, err := s.Create(t.Context(), key(2), configMap(key(2), "y"), 0); !apierrors.IsTimeout(err) && !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a write gets %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v to fail", took)
	}

	r.door.open()
	for {
		if _, err := s.Update(within(t), key(3), func(*store.Entry) (store.Outcome, error) {
			return store.Outcome{Put: configMap(key(3), "z")}, nil
		}); err == nil {
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	told := next(t, w, 1)
	if told[0] == "ADDED c00002=y" { // the write whose outcome was left open
		told = next(t, w, 1)
	}
	if d := cmp.Diff([]string{"ADDED c00003=z"}, told); d != "" {
		t.Error(d)
	}
}

// TestAGapIsNotPassedOverInSilence compacts what a DB that was cut off has not seen.
func TestAGapIsNotPassedOverInSilence(t *testing.T) {
	t.Parallel()
	r := startRemote(t, filepath.Join(t.TempDir(), "etcd"))
	s := r.open(t, nil).Open(configMaps())
	for i := range 10 {
		put(t, s, key(i), configMap(key(i), "old"))
	}
	before := list(t, s, store.ListOptions{})
	w := startWatch(t, s, store.WatchOptions{ResourceVersion: before.Revision.String()})
	idle := startWatch(t, s, store.WatchOptions{Selection: store.Selection{Name: "nobody"}, ResourceVersion: before.Revision.String()})
	var follower told
	if err := s.Follow(t.Context(), follower.changed); err != nil {
		t.Fatal(err)
	}
	follower.lines = nil
	ended := make(chan error, 1)
	go func() {
		_, err := idle.Next(within(t), nil)
		ended <- err
	}()

	r.door.close()
	other := openDB(t, r.etcd, nil).Open(configMaps())
	for i := range 5 {
		put(t, other, key(i), configMap(key(i), "new"))
	}
	last := remove(t, other, key(9))
	if _, err := r.etcd.Client().Compact(t.Context(), int64(last.Revision)); err != nil {
		t.Fatal(err)
	}
	r.door.open()

	if _, err := w.Next(within(t), nil); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watcher gets %v", err)
	}
	if err := <-ended; !apierrors.IsResourceExpired(err) {
		t.Errorf("an idle watcher gets %v", err)
	}
	want := append(numbered(0, 5, "new"), numbered(5, 9, "old")...)
	if d := cmp.Diff(want, names(t, list(t, s, store.ListOptions{}))); d != "" {
		t.Error(d)
	}
	if _, err := s.Watch(t.Context(), store.WatchOptions{ResourceVersion: before.Revision.String()}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from before the gap gets %v", err)
	}
	follower.want(t, "gone c00009", "changed c00000", "changed c00001", "changed c00002", "changed c00003", "changed c00004")
}

func TestARestartKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	var at store.Revision
	for round := range 3 {
		e, err := embedded.Start(embedded.Config{Dir: dir, Log: quietLog()})
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.New(t.Context(), store.Options{Client: e.Client(), Root: "/registry", Revision: e.Revision, Log: quietLog()})
		if err != nil {
			t.Fatal(err)
		}
		s := db.Open(configMaps())
		l := list(t, s, store.ListOptions{})
		if d := cmp.Diff(numbered(0, round*10, "x"), names(t, l)); d != "" || l.Revision < at {
			t.Errorf("round %d, at %d after %d: %s", round, l.Revision, at, d)
		}
		for i := range 10 {
			at = put(t, s, key(round*10+i), configMap(key(round*10+i), "x")).Revision
		}
		db.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestObjectsWithATimeToLiveExpire(t *testing.T) {
	t.Parallel()
	s := openConfigMaps(t)
	e, err := s.Create(t.Context(), key(1), configMap(key(1), "x"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, s, store.WatchOptions{ResourceVersion: e.Revision.String()})
	if d := cmp.Diff([]string{"DELETED c00001=x"}, next(t, w, 1)); d != "" {
		t.Error(d)
	}
}

// door is a TCP proxy that can be shut.
type door struct {
	listener net.Listener
	to       string
	cut      context.CancelFunc
	through  chan context.Context // holds one, which ends when the door is shut
	pumps    sync.WaitGroup
}

func openDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := &door{listener: l, to: to, through: make(chan context.Context, 1)}
	d.open()
	go d.serve()
	return d
}

func (d *door) open() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cut = cancel
	select {
	case <-d.through:
	default:
	}
	d.through <- ctx
}

// close breaks all connections, and those that come.
func (d *door) close() {
	d.cut()
	d.pumps.Wait()
}

func (d *door) serve() {
	for {
		in, err := d.listener.Accept()
		if err != nil {
			return
		}
		ctx := <-d.through
		d.through <- ctx
		if ctx.Err() != nil {
			in.Close()
			continue
		}
		out, err := net.Dial("tcp", d.to)
		if err != nil {
			in.Close()
			continue
		}
		context.AfterFunc(ctx, func() { in.Close(); out.Close() })
		d.pumps.Go(func() { pump(in, out) })
		d.pumps.Go(func() { pump(out, in) })
	}
}

func pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}
