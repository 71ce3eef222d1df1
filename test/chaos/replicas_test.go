package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/test/cluster"
)

// replica is a part in a process of its own, one of several that stand for the same lease.
type replica struct {
	*exec.Cmd
	ended chan struct{}
}

// kill ends it without a chance to give anything back.
func (r *replica) kill() {
	r.Process.Kill() // an ended process needs none
	<-r.ended
}

// stop lets it do nothing until it goes on, and know nothing of the time between.
func (r *replica) stop() { r.Process.Signal(syscall.SIGSTOP) }
func (r *replica) goOn() { r.Process.Signal(syscall.SIGCONT) }

// replicate starts a part in a process of its own. Its leases are short, so that the test need not wait long.
func (w *world) replicate(part, name string) *replica {
	w.Helper()
	log, err := os.Create(filepath.Join(w.TempDir(), name+".log"))
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close() // the process has its own
	r := &replica{exec.Command(cluster.Binary(w, "knarr"), part, "--kubeconfig="+filepath.Join(w.api.DataDir, part+".kubeconfig"), "--secure-port=0",
		fmt.Sprintf("--leader-elect-lease-duration=%v", leaseDuration), "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms"), make(chan struct{})}
	r.Stdout, r.Stderr = log, log
	if err := r.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		r.Wait() // how it ended does not matter: it is killed
		close(r.ended)
	}()
	w.Cleanup(func() {
		r.kill()
		if w.Failed() {
			said, _ := os.ReadFile(log.Name())
			w.Logf("the log of %s:\n%s", name, said)
		}
	})
	return r
}

const leaseDuration = 3 * time.Second

// holder is who has a part's lease, by what its identity says.
func (w *world) holder(ctx context.Context, lease string) string {
	l, err := w.client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, lease, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return ""
	}
	return ptr.Deref(l.Spec.HolderIdentity, "")
}

// TestTheOtherReplicaTakesOver runs two processes of each part, kills the leaders at work, time and again, and expects the others
// to go on within the lease, and nothing to be doubled.
func TestTheOtherReplicaTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	for i := range 3 {
		w.addNode(i+1, 10).start()
	}
	leases := map[string]string{"controllers": "kube-controller-manager", "scheduler": "kube-scheduler"}
	running := map[string]*replica{} // those that lead, by part
	for part, lease := range leases {
		running[part] = w.replicate(part, part+"-0")
		w.insist(part+" lead", func(ctx context.Context) error {
			if w.holder(ctx, lease) == "" {
				return fmt.Errorf("nobody has the lease")
			}
			return nil
		})
	}
	all := population()
	for _, x := range all {
		w.create(x)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 2 {
		o.look(j.begin)
		next := map[string]*replica{}
		before := map[string]string{}
		for part, lease := range leases {
			before[part] = w.holder(w.Context(), lease)
			next[part] = w.replicate(part, fmt.Sprintf("%s-%d", part, i+1))
		}
		for range 12 {
			w.change(r, all[r.IntN(len(all))])
		}
		killed := time.Now()
		for part := range leases {
			running[part].kill()
		}
		for part, lease := range leases {
			w.insist("another takes over from "+part, func(ctx context.Context) error {
				if now := w.holder(ctx, lease); now == "" || now == before[part] {
					return fmt.Errorf("%q has the lease, as before", now)
				}
				return nil
			})
			// It looks every half second, and a busy machine may take its time.
			if took := time.Since(killed); took > leaseDuration+15*time.Second {
				t.Errorf("%s were taken over after %v", part, took)
			}
			t.Logf("%s: taken over after %v", part, time.Since(killed).Round(10*time.Millisecond))
		}
		running = next
		for _, x := range all {
			if body := goingOn(x.resource); body != "" {
				w.patch(x, body)
			}
		}
		w.settle(fmt.Sprintf("takeover %d", i+1), o, j, all)
	}
}

// TestALeaderWakesUp runs two processes of the controllers, stops the one that leads in the middle of its work until the other has been leading
// for a while, and lets it go on with what it had in its hands. Nothing may be too many at any moment, as ever.
func TestALeaderWakesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	w.addScheduler().start()
	for i := range 3 {
		w.addNode(i+1, 10).start()
	}
	const lease = "kube-controller-manager"
	holder := func(before string) (now string) {
		w.insist("somebody leads", func(ctx context.Context) error {
			if now = w.holder(ctx, lease); now == "" || now == before {
				return fmt.Errorf("%q has the lease", now)
			}
			return nil
		})
		return now
	}
	first := w.replicate("controllers", "controllers-0")
	name := holder("")
	second := w.replicate("controllers", "controllers-1")
	leader := func() *replica {
		if w.holder(w.Context(), lease) == name {
			return first
		}
		return second
	}
	all := population()
	for _, x := range all {
		w.create(x)
	}
	w.settle("the beginning", o, j, all)
	seed := fromEnvironment(t, "SEED", 1)
	for i := range min(fromEnvironment(t, "ROUNDS", 2), 20) {
		o.look(j.begin)
		r := rand.New(rand.NewPCG(uint64(seed+i), 3))
		changes := func(n int) {
			for range n {
				w.change(r, all[r.IntN(len(all))])
				w.remake(all)
			}
		}
		stopped, before := leader(), w.holder(w.Context(), lease)
		changes(10)
		pause(t.Context(), time.Duration(r.IntN(20))*time.Millisecond) // what has been changed last is being worked on
		stopped.stop()
		changes(10)
		holder(before)
		changes(10)
		pause(t.Context(), time.Duration(r.IntN(1500))*time.Millisecond)
		stopped.goOn()
		changes(5)
		for _, x := range all {
			if body := goingOn(x.resource); body != "" {
				w.patch(x, body)
			}
		}
		seen, took := w.settle(fmt.Sprintf("round SEED=%d", seed+i), o, j, all)
		w.renewJobs(all)
		t.Logf("round SEED=%d: %d changes seen, settled in %v", seed+i, seen, took.Round(10*time.Millisecond))
	}
}
