// Package embedded runs a member of etcd inside the process: one member, on its own data directory, reached by function
// calls instead of a network. It is a real etcd, with the same files; an etcd binary can be started over them.
//
// It is tuned for being alone and close: an election takes a millisecond, the raft log that would bring a follower up to
// date is short, no ports are opened unless asked for. It keeps its file small by itself, and says so in time when it
// grows towards its quota, beyond which etcd refuses all writes.
package embedded

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Config says where the data is.
type Config struct {
	Dir string // made if it does not exist, mode 0700
	// ListenClients is a URL at which other processes may use this etcd ("http://127.0.0.1:2379"); empty means none.
	ListenClients string
	// Quota is the most bytes that the database file may take; 0 is 8 GB.
	Quota int64
	// NoSync leaves it to the operating system when data reach the disk. For tests: a crash loses acknowledged writes.
	NoSync bool
	Log    *slog.Logger // nil is slog's default
}

// Etcd is a running member.
type Etcd struct {
	server *embed.Etcd
	client *clientv3.Client
	seen   *seen // nil when others may write too
	keeper *keeper

	closing sync.Once
	closed  error // what Close returns
}

const (
	tick          = 500 // milliseconds; each wakes an idle process, and tells nobody anything
	election      = 5 * tick
	snapshotEvery = 500 // writes between snapshots of the raft log; all of it is kept in memory until then
	catchUp       = 100 // writes that the log keeps beyond a snapshot, for followers that do not exist
	defaultQuota  = 8e9 // bytes; etcd's own recommendation for the largest
	slowApply     = 2 * time.Second
	maxRequest    = 1.5 * (1 << 20)
	startPatience = time.Minute
	electAgain    = time.Millisecond
)

// Start starts etcd over c.Dir and returns when it takes writes.
func Start(c Config) (*Etcd, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Quota == 0 {
		c.Quota = defaultQuota
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	dir, err := filepath.EvalSymlinks(c.Dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	file := filepath.Join(dir, "member", "snap", "db")
	if err := checkFile(file); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	config, err := c.etcd()
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	server, err := lead(config)
	if err != nil {
		return nil, fmt.Errorf("start etcd over %s: %w", c.Dir, err)
	}
	e := &Etcd{server: server, client: v3client.New(server.Server)}
	if err := firstRead(e.client); err != nil {
		server.Close()
		return nil, fmt.Errorf("start etcd over %s: %w", c.Dir, err)
	}
	if c.ListenClients == "" {
		e.seen = &seen{KV: e.client.KV}
		e.seen.note(server.Server.KV().Rev())
		e.client.KV = e.seen
	}
	e.keeper = &keeper{client: e.client, defrag: server.Server.Backend().Defrag, quota: c.Quota, log: c.Log}
	if c.ListenClients == "" {
		e.keeper.file = file
	}
	e.keeper.start()
	return e, nil
}

// starting is held until a member leads: allApplied sees the member that was started last.
var starting sync.Mutex

// lead starts a member and returns when it takes writes.
func lead(config *embed.Config) (*embed.Etcd, error) {
	starting.Lock()
	defer starting.Unlock()
	server, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	if err := elect(server); err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

// elect has a member that is alone stand for election until it leads, and returns when it takes writes. By itself it would
// wait for some ticks, so that others may come first.
//
// It must not stand before raft knows that what the log held has been applied: raft would look for it in the log once more,
// and panic, since etcd cuts off what it has applied.
func elect(e *embed.Etcd) error {
	stand, self := raftpb.MsgTimeoutNow, uint64(e.Server.MemberID())
	again := time.NewTicker(electAgain)
	defer again.Stop()
	late := time.After(startPatience)
	for {
		if e.Server.Leader() == 0 && allApplied() {
			if err := e.Server.Process(context.Background(), &raftpb.Message{Type: &stand, To: &self, From: &self}); err != nil {
				return err
			}
		}
		select {
		case <-e.Server.ReadyNotify():
			return nil
		case err := <-e.Err():
			return err
		case <-late:
			return fmt.Errorf("not ready after %v", startPatience)
		case <-again.C:
		}
	}
}

// firstRead spares others the error that the first read may get: etcd's loop of reads may notice as late as then that there
// is a new leader.
func firstRead(client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	_, err := client.Get(ctx, "first-read")
	for errors.Is(err, rpctypes.ErrLeaderChanged) {
		_, err = client.Get(ctx, "first-read")
	}
	return err
}

// allApplied asks raft itself, of the member that was started last, which etcd lets see by this variable alone.
func allApplied() bool {
	variable, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	status, ok := variable.Value().(raft.Status)
	return ok && status.GetCommit() > 0 && status.Applied >= status.GetCommit()
}

// etcd is the configuration in etcd's terms.
func (c Config) etcd() (*embed.Config, error) {
	e := embed.NewConfig()
	e.Name, e.Dir = "knarr", c.Dir
	e.TickMs, e.ElectionMs = tick, election
	e.SnapshotCount, e.SnapshotCatchUpEntries = snapshotEvery, catchUp
	e.QuotaBackendBytes, e.MaxRequestBytes = c.Quota, maxRequest
	e.UnsafeNoFsync = c.NoSync
	// A busy machine makes single requests slow; that is worth a warning where it lasts long enough to be felt.
	e.WarningApplyDuration = slowApply
	e.EnableGRPCGateway = false
	e.ListenPeerUrls, e.ListenClientUrls = nil, nil
	e.InitialCluster = e.InitialClusterFromName(e.Name)
	if c.ListenClients != "" {
		u, err := url.Parse(c.ListenClients)
		if err != nil {
			return nil, err
		}
		e.ListenClientUrls, e.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	}
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(c.Log))
	return e, nil
}

// Client uses the member in process.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Revision is a revision that is no older than any write that has been acknowledged.
func (e *Etcd) Revision() int64 {
	if e.seen != nil {
		return e.seen.revision.Load()
	}
	return e.server.Server.KV().Rev()
}

// Server is etcd's own server, for its metrics and snapshots.
func (e *Etcd) Server() *etcdserver.EtcdServer { return e.server.Server }

// Snapshot writes a consistent copy of the database to a file, from which etcdutl can restore.
func (e *Etcd) Snapshot(ctx context.Context, file string) error {
	return writeSnapshot(ctx, e.client, file)
}

// Close stops the member; what was acknowledged is on disk. Closing it again does nothing.
func (e *Etcd) Close() error {
	e.closing.Do(func() {
		e.keeper.stop()
		if err := e.client.Close(); !errors.Is(err, context.Canceled) {
			e.closed = err
		}
		e.server.Close()
	})
	return e.closed
}
