package chaos

import (
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/knarr-dev/knarr/test/cluster"
)

// some are a few workloads of each kind.
func some() (few []*workload) {
	seen := map[string]int{}
	for _, x := range population() {
		base := x.name[:len(x.name)-1]
		if seen[base]++; seen[base] <= 2 {
			few = append(few, x)
		}
	}
	return few
}

// disturbed changes workloads, lets something happen to the cluster, and expects all to become what is wanted.
func (w *world) disturbed(o *observer, j *judge, what string, happen func(change func())) {
	w.Helper()
	all := some()
	for _, x := range all {
		w.create(x)
	}
	w.settle("before "+what, o, j, all)
	o.look(j.begin)
	r := rand.New(rand.NewPCG(uint64(fromEnvironment(w.T, "SEED", 7)), 7))
	happen(func() {
		for range 10 {
			w.change(r, all[r.IntN(len(all))])
		}
	})
	for _, x := range all {
		if body := goingOn(x.resource); body != "" {
			w.patch(x, body)
		}
	}
	changes, took := w.settle("after "+what, o, j, all)
	w.Logf("%s: %d changes, settled in %v", what, changes, took.Round(10*time.Millisecond))
}

// wholeCluster has all parts, and nodes.
func (w *world) wholeCluster(nodes int) {
	w.Helper()
	w.addControllers().start()
	w.addScheduler().start()
	for i := range nodes {
		w.addNode(i+1, 10).start()
	}
}

// TestTheAPIServerIsAway takes the API server away in the middle of changes. Every part has to find back to it by itself.
func TestTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	w.wholeCluster(3)
	w.disturbed(o, j, "the API server was away", func(change func()) {
		change()
		w.api.Kill()
		pause(t.Context(), 5*time.Second)
		w.api.Restart()
		change()
	})
}

// TestTwoLeaders lets two of each part work at the same time, neither knowing of the other, and then ends one of each. No owner may have
// a pod too many at any moment, and no Job may count one twice or not at all. What is kept over several owners, and by deleting
// nothing too early, only a single leader keeps.
func TestTwoLeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	w.wholeCluster(3)
	j.doubted = true
	w.disturbed(o, j, "there were two leaders", func(change func()) {
		others := []*part{w.addControllers(), w.addScheduler()}
		for _, p := range others {
			p.start()
			// They lag by less than a pod lives: of what is gone nobody can tell that it was.
			p.wire.suffer(ills{late: 100 * time.Millisecond, lose: 0.05})
		}
		for range 5 {
			change()
			pause(t.Context(), 300*time.Millisecond)
		}
		for _, p := range others {
			p.kill()
		}
	})
}

// TestEtcdIsSlow puts 25 milliseconds between the API server and its etcd, each way: fifty times what it takes otherwise.
func TestEtcdIsSlow(t *testing.T) {
	t.Parallel()
	etcd, _ := cluster.StartEtcd(t)
	w := newWorld(t, "--etcd-servers="+slowly(t, etcd, 25*time.Millisecond))
	o, j := w.observed(), newJudge()
	w.wholeCluster(2)
	w.disturbed(o, j, "etcd was slow", func(change func()) { change() })
}

// slowly is an address at which another is reached with a delay, each way.
func slowly(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to.Host)
			if err != nil {
				near.Close()
				continue
			}
			go carry(near, far, delay)
			go carry(far, near, delay)
		}
	}()
	return "http://" + l.Addr().String()
}

// carry hands on what comes, each piece a while after it came.
func carry(from io.ReadCloser, to io.WriteCloser, delay time.Duration) {
	type piece struct {
		at   time.Time
		data []byte
	}
	pieces := make(chan piece, 100_000)
	go func() {
		defer to.Close()
		for p := range pieces {
			<-time.After(time.Until(p.at.Add(delay)))
			if _, err := to.Write(p.data); err != nil {
				from.Close()
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{time.Now(), buf[:n]}
		}
		if err != nil {
			return
		}
	}
}
