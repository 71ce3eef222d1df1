package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// election is how parts stand for their leases. The flags are upstream's.
type election struct {
	Elect     bool          `flag:"leader-elect" help:"work only while holding a lease, so that several replicas may run"`
	Duration  time.Duration `flag:"leader-elect-lease-duration" help:"how long others wait for a leader that they do not hear of before they take its lease"`
	Deadline  time.Duration `flag:"leader-elect-renew-deadline" help:"how long a leader that cannot renew its lease works on; less than the lease's duration"`
	Retry     time.Duration `flag:"leader-elect-retry-period" help:"how often a lease is renewed, or asked for"`
	Lock      string        `flag:"leader-elect-resource-lock" help:"what the lease is: leases"`
	Name      string        `flag:"leader-elect-resource-name" help:"name of the lease (default: upstream's name of the program)"`
	Namespace string        `flag:"leader-elect-resource-namespace" help:"namespace of the lease"`
}

func defaultElection() election {
	return election{Elect: true, Duration: 15 * time.Second, Deadline: 10 * time.Second, Retry: 2 * time.Second,
		Lock: "leases", Namespace: metav1.NamespaceSystem}
}

// check names what is wrong.
func (e *election) check() error {
	switch {
	case !e.Elect:
		return nil
	case e.Lock != "leases":
		return fmt.Errorf("--leader-elect-resource-lock is %q: use leases", e.Lock)
	case e.Retry <= 0:
		return errors.New("--leader-elect-retry-period must be above 0")
	case float64(e.Deadline) <= leaderelection.JitterFactor*float64(e.Retry):
		return fmt.Errorf("--leader-elect-renew-deadline must be longer than %v times --leader-elect-retry-period", leaderelection.JitterFactor)
	case e.Duration <= e.Deadline:
		return errors.New("--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline")
	case e.Duration < time.Second:
		return errors.New("--leader-elect-lease-duration must be 1s or more")
	}
	return nil
}

// lead waits for the part's lease, works while it holds it, and gives it up when the work has ended, so that another
// replica need not wait. It returns when ctx ends, when the lease is lost (the work is told to end then, and nothing else),
// or when the work ends.
func (e *election) lead(ctx context.Context, x *station, work func(context.Context) error) error {
	if !e.Elect {
		return work(ctx)
	}
	lock, err := e.lock(x)
	if err != nil {
		return err
	}
	c, err := e.stand(ctx, x, lock)
	if err != nil {
		return err
	}
	select {
	case <-c.won:
	case <-ctx.Done():
		c.end()
		e.release(lock, x.log) // it may have been won meanwhile
		return nil
	}
	level := slog.LevelDebug // a start that nobody contests is no news
	if c.behind.Load() {
		level = slog.LevelInfo
	}
	x.log.Log(ctx, level, "a part leads", "part", x.name, "identity", x.identity)
	term, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		<-c.over
		stop()
	}()
	err = work(term)
	if term.Err() != nil && ctx.Err() == nil {
		c.letGo()
		x.log.Warn("a part has lost its lease and stands for it again", "part", x.name)
		return nil
	}
	c.end()
	e.release(lock, x.log)
	return err
}

// candidate stands for a lease, and renews it once it has won.
type candidate struct {
	won    chan struct{} // closed when it has the lease
	over   chan struct{} // closed when it has lost it, or given up
	behind atomic.Bool   // another replica
	letGo  context.CancelFunc
}

// stand begins. What is held is held for longer than ctx: until the work has ended, and end is called.
func (e *election) stand(ctx context.Context, x *station, lock resourcelock.Interface) (*candidate, error) {
	c := &candidate{won: make(chan struct{}), over: make(chan struct{})}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: e.Duration, RenewDeadline: e.Deadline, RetryPeriod: e.Retry, WatchDog: x.desk.watchDog, Name: x.program,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(c.won) },
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				if leader != x.identity && leader != "" {
					x.informers.passes(x.name)
					c.behind.Store(true)
					x.log.Info("another replica leads", "part", x.name, "leader", leader)
				}
			},
		},
	})
	if err != nil {
		return nil, err
	}
	x.desk.watchDog.SetLeaderElection(elector)
	var holding context.Context
	holding, c.letGo = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(c.over)
		elector.Run(holding)
	}()
	return c, nil
}

// end renews no more.
func (c *candidate) end() {
	c.letGo()
	<-c.over
}

// lock is the part's lease. Its clients are its own, so that nothing stands in the way of a renewal, and none waits for an
// answer until it is too late to ask again.
func (e *election) lock(x *station) (resourcelock.Interface, error) {
	name := e.Name
	if name == "" {
		name = x.program
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, e.Namespace, name,
		resourcelock.ResourceLockConfig{Identity: x.identity, EventRecorder: x.voice.recorder(x.program)}, x.own(), e.Deadline)
	return heldLock{lock, x.hold}, err
}

// release gives up a lease that nobody renews any more. If that fails, the others wait as for one that was killed.
func (e *election) release(lock resourcelock.Interface, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), e.Retry)
	defer cancel()
	held, _, err := lock.Get(ctx)
	if err != nil || held.HolderIdentity != lock.Identity() {
		return
	}
	now := metav1.Now()
	err = lock.Update(ctx, resourcelock.LeaderElectionRecord{LeaderTransitions: held.LeaderTransitions, LeaseDurationSeconds: 1, RenewTime: now, AcquireTime: now})
	if err != nil {
		log.Debug("a lease is not given up", "lease", lock.Describe(), "err", err)
	}
}

// identify is under which name a part holds its lease. The name is kept in the data directory, so that a part that was
// killed gets its own lease back at once, where it would wait for that of another to run out; and by a lock on the
// file, until the process ends, so that no two have the same name. A second process on the same directory takes a new
// one, and so does one that can keep nothing there.
func identify(dataDir, part string, log *slog.Logger) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	fresh := host + "_" + string(uuid.NewUUID())
	if dataDir == "" {
		return fresh, nil
	}
	kept, err := keptIdentity(filepath.Join(dataDir, "identity", part), host+"_", fresh)
	if err != nil {
		log.Warn("after a kill, a part will wait for its own lease to run out: its identity cannot be kept", "part", part, "err", err)
		return fresh, nil
	}
	return kept, nil
}

// keptIdentity is what the file holds, if it begins as the identities of this machine do and nobody else has it; if there
// is nothing, fresh is kept there.
func keptIdentity(path, prefix, fresh string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	// The descriptor stays open, and with it the lock, for as long as the process lives.
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fresh, syscall.Close(fd) // somebody else has it
	}
	if kept, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(kept), prefix) {
		return strings.TrimSpace(string(kept)), nil
	}
	if err := syscall.Ftruncate(fd, 0); err != nil {
		return "", &fs.PathError{Op: "truncate", Path: path, Err: err}
	}
	_, err = syscall.Write(fd, []byte(fresh+"\n"))
	return fresh, err
}
