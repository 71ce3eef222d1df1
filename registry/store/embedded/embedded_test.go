package embedded

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func start(t *testing.T, c Config) *Etcd {
	t.Helper()
	c.NoSync = true
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "etcd")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	e, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestAHealthyStartIsQuiet(t *testing.T) {
	var said strings.Builder
	e := start(t, Config{Log: slog.New(slog.NewTextHandler(&said, nil))})
	if _, err := e.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for line := range strings.Lines(said.String()) {
		if !strings.Contains(line, "took too long") { // as anything may where the machine is busy
			t.Error(line)
		}
	}
}

func TestAFileThatCannotBeOpenedIsAnError(t *testing.T) {
	running := filepath.Join(t.TempDir(), "etcd")
	start(t, Config{Dir: running})
	broken := filepath.Join(t.TempDir(), "etcd")
	file := filepath.Join(broken, "member", "snap", "db")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{running: "open in another process", broken: "put a backup in its place"} {
		if _, err := Start(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestRevisionIsNoOlderThanWhatWasAcknowledged(t *testing.T) {
	e := start(t, Config{})
	put, err := e.Client().Put(t.Context(), "a", "1")
	if err != nil || e.Revision() < put.Header.Revision {
		t.Error(e.Revision(), err)
	}
	txn, err := e.Client().Txn(t.Context()).If(clientv3.Compare(clientv3.Version("a"), ">", 0)).
		Then(clientv3.OpPut("a", "2")).Else(clientv3.OpGet("a")).Commit()
	if err != nil || !txn.Succeeded || e.Revision() < txn.Header.Revision {
		t.Error(e.Revision(), err)
	}
	do, err := e.Client().Do(t.Context(), clientv3.OpPut("a", "3"))
	if err != nil || e.Revision() < do.Put().Header.Revision {
		t.Error(e.Revision(), err)
	}
	gone, err := e.Client().Delete(t.Context(), "a")
	if err != nil || e.Revision() < gone.Header.Revision {
		t.Error(e.Revision(), err)
	}
}

func TestAFileThatIsMostlyFreeIsMadeSmall(t *testing.T) {
	e := start(t, Config{})
	fill(t, e, 40)
	r, err := e.Client().Delete(t.Context(), "k", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	e.Server().Backend().ForceCommit()
	before, err := e.keeper.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Freed pages count as free some batches later, when no reader can see them any more.
	for after := before; after.DbSize > before.DbSize/2; {
		e.Server().Backend().ForceCommit()
		if err := e.keeper.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after, err = e.keeper.status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// fill writes megabytes.
func fill(t *testing.T, e *Etcd, megabytes int) {
	t.Helper()
	for i := range megabytes {
		if _, err := e.Client().Put(t.Context(), fmt.Sprint("k", i), strings.Repeat("x", 1<<20)); err != nil {
			t.Fatalf("after %d MB: %v", i, err)
		}
	}
}

func TestAFullDatabaseIsWarnedOfAndRecovers(t *testing.T) {
	var said strings.Builder
	e := start(t, Config{Quota: 128 << 20, Log: slog.New(slog.NewTextHandler(&said, nil))})
	fill(t, e, 95)
	e.Server().Backend().ForceCommit() // what is in use is counted with each batch of writes
	if err := e.keeper.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "filling up") {
		t.Errorf("at three quarters of the quota it says %q", said.String())
	}
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = e.Client().Put(t.Context(), fmt.Sprint("more", i), strings.Repeat("x", 1<<20))
	}
	if err == nil {
		t.Fatal("the quota was never reached")
	}
	r, err := e.Client().Delete(t.Context(), "k", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for err := error(rpctypes.ErrNoSpace); err != nil; {
		e.Server().Backend().ForceCommit()
		if err := e.keeper.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err = e.Client().Put(t.Context(), "k", "v"); err != nil && err != rpctypes.ErrNoSpace {
			t.Fatal(err)
		}
	}
}

func TestASnapshotIsACompleteFile(t *testing.T) {
	e := start(t, Config{})
	fill(t, e, 1)
	file := filepath.Join(t.TempDir(), "copy.db")
	if err := e.Snapshot(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() < 1<<20 || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if _, err := os.Stat(file + ".part"); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestOtherProcessesComeInWhereAsked(t *testing.T) {
	e := start(t, Config{ListenClients: "http://127.0.0.1:0"})
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.server.Clients[0].Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	put, err := client.Put(t.Context(), "k", "v")
	if err != nil || e.Revision() < put.Header.Revision {
		t.Error(e.Revision(), err)
	}
}

func TestTheDatabaseFileIsNotKeptInMemory(t *testing.T) {
	e := start(t, Config{})
	fill(t, e, 20)
	e.Server().Backend().ForceCommit()                                // until then reads are answered from a buffer
	r, err := e.Client().Get(t.Context(), "k", clientv3.WithPrefix()) // reads all of the file
	if err != nil {
		t.Fatal(err)
	}
	if n := resident(t, e.keeper.file); n < 10<<20 {
		t.Fatalf("%d bytes are resident after %d objects were read", n, r.Count)
	}
	if err := release(e.keeper.file); err != nil {
		t.Fatal(err)
	}
	if n := resident(t, e.keeper.file); n > 5<<20 { // etcd's own work brings some of it back at once
		t.Errorf("%d bytes are resident after their release", n)
	}
	again, err := e.Client().Get(t.Context(), "k", clientv3.WithPrefix())
	if err != nil || again.Count != r.Count {
		t.Errorf("of %d objects %d are read after the release, %v", r.Count, again.Count, err)
	}
}

// resident is how much of a file's mapping is in memory, as the kernel counts it.
func resident(t *testing.T, file string) (bytes int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "-") && strings.Count(strings.Fields(line)[0], "-") == 1 {
			_, _, ours = mapping(line, file)
		}
		var kB int
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kB); n == 1 && ours {
			bytes += kB << 10
		}
	}
	return bytes
}

// TestManyStartsAfterACrash starts over what a killed process leaves: a log of a few hundred writes without a snapshot. They
// are applied, and the log in memory is cut, while the member stands for election.
func TestManyStartsAfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	e := start(t, Config{Dir: dir})
	for i := range 300 {
		if _, err := e.Client().Put(t.Context(), fmt.Sprint("k", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		again := filepath.Join(t.TempDir(), "etcd")
		if err := os.CopyFS(again, os.DirFS(left)); err != nil {
			t.Fatal(err)
		}
		started := start(t, Config{Dir: again})
		got, err := started.Client().Get(t.Context(), "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != 300 {
			t.Fatalf("%v keys, %v; want the 300 that were acknowledged", got, err)
		}
		if err := started.Close(); err != nil {
			t.Error(err)
		}
	}
}
