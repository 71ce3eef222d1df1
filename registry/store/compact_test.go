package store

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/knarr-dev/knarr/registry/store/embedded"
)

func TestWhenToCompactAndWhereTo(t *testing.T) {
	start := time.Now()
	// One mark every five seconds, a revision and a megabyte a second.
	at := func(seconds int) mark {
		return mark{start.Add(time.Duration(seconds) * time.Second), Revision(seconds), int64(seconds) << 20}
	}
	marks := func(from, to int) (all []mark) {
		for s := from; s <= to; s += 5 {
			all = append(all, at(s))
		}
		return all
	}
	for name, c := range map[string]struct {
		now, last int
		bytes     int64
		target    Revision
		due       bool
	}{
		"not yet":                             {now: 295, last: 0},
		"the first turn has no revision":      {now: 300, last: 5, target: 0, due: false},
		"an interval after the last":          {now: 600, last: 300, target: 300, due: true},
		"much was written":                    {now: 340, last: 300, bytes: 32 << 20, target: 320, due: true},
		"not much was written":                {now: 340, last: 300, bytes: 64 << 20},
		"much was written, an interval after": {now: 600, last: 300, bytes: 32 << 20, target: 300, due: true},
	} {
		t.Run(name, func(t *testing.T) {
			target, due := nextCompaction(marks(5, c.now), at(c.last), at(c.now), 5*time.Minute, c.bytes)
			if target != c.target || due != c.due {
				t.Errorf("%d, %v; want %d, %v", target, due, c.target, c.due)
			}
		})
	}
}

// TestOneOfSeveralServersCompacts lets two take turns as the comment on compactKey tells.
func TestOneOfSeveralServersCompacts(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := embedded.Start(embedded.Config{Dir: filepath.Join(t.TempDir(), "etcd"), NoSync: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var servers [2]*DB
	for i := range servers {
		servers[i], err = New(t.Context(), Options{Client: e.Client(), Root: "/registry", Log: log, CompactEvery: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer servers[i].Close()
	}
	for range 20 {
		if _, err := e.Client().Put(t.Context(), "/registry/x/y", "z"); err != nil {
			t.Fatal(err)
		}
	}
	turn := func(server int, target, compacted Revision) {
		t.Helper()
		if err := servers[server].compactTo(target); err != nil {
			t.Fatal(err)
		}
		for r, gone := range map[Revision]bool{compacted - 1: true, compacted: false} {
			if r < 1 {
				continue
			}
			_, err := e.Client().Get(t.Context(), "/registry/x/y", clientv3.WithRev(int64(r)))
			if (err == rpctypes.ErrCompacted) != gone {
				t.Errorf("server %d, after its turn to %d: reading at %d gives %v", server, target, r, err)
			}
		}
	}
	turn(0, 0, 0)  // takes the turn, and has nothing to compact to yet
	turn(1, 5, 0)  // comes late
	turn(0, 8, 8)  // goes on
	turn(1, 10, 8) // comes late again
	turn(1, 12, 12)
	turn(0, 15, 12) // the other has taken over
}
