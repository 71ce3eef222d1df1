package embedded

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// keeper looks after the database file. Compaction frees pages inside the file, but only a defragmentation gives them
// back; since etcd maps the whole file into memory, a file that is mostly free costs memory after a restart. It stops
// writes while it runs, some ten milliseconds for a small file, so it is done early and only when it is worth it.
type keeper struct {
	client *clientv3.Client
	defrag func() error // the client's own needs a part of etcd that is not there in process
	file   string       // to be released; empty where others can defragment it
	quota  int64
	log    *slog.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup
	warned int64 // the tenth of the quota that was last warned of
}

const (
	keepEvery   = 4 * time.Second
	wasteWorth  = 16 << 20 // free bytes below which a file is left alone
	warnFrom    = 7        // tenths of the quota in use at which warnings begin
	askPatience = 5 * time.Second
)

// start begins to look after the database.
func (k *keeper) start() {
	var ctx context.Context
	ctx, k.cancel = context.WithCancel(context.Background())
	k.done.Go(func() { k.run(ctx) })
}

func (k *keeper) stop() {
	k.cancel()
	k.done.Wait()
}

func (k *keeper) run(ctx context.Context) {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := k.look(ctx); err != nil && ctx.Err() == nil {
				k.log.Warn("etcd's database could not be looked after", "err", err)
			}
		}
	}
}

// look defragments, releases, warns and disarms, as the sizes demand.
func (k *keeper) look(ctx context.Context) error {
	status, err := k.status(ctx)
	if err != nil {
		return err
	}
	if wasteful(status.DbSize, status.DbSizeInUse) {
		if err := k.defrag(); err != nil {
			return fmt.Errorf("defragment: %w", err)
		}
		if status, err = k.status(ctx); err != nil {
			return err
		}
	}
	if k.file != "" {
		if err := release(k.file); err != nil {
			return err
		}
	}
	k.warn(status.DbSizeInUse)
	// To list the alarms is a write for etcd; its status tells of them too.
	if len(status.Errors) == 0 {
		return nil
	}
	return k.disarm(ctx, status.DbSize)
}

func (k *keeper) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return k.client.Status(ctx, "")
}

// wasteful reports that at least half of the file is free, and that this is worth the interruption.
func wasteful(file, used int64) bool { return file-used > wasteWorth && file > 2*used }

// warn says how full the database is, once for each further tenth of the quota.
func (k *keeper) warn(used int64) {
	tenth := used * 10 / k.quota
	if tenth >= warnFrom && tenth > k.warned {
		k.log.Warn("etcd's database is filling up; when it is full all writes are refused: delete objects, or raise the quota",
			"used", used, "quota", k.quota, "percent", used*100/k.quota)
	}
	k.warned = tenth
}

// disarm takes back etcd's refusal to write once there is room again; etcd itself leaves it standing for ever.
func (k *keeper) disarm(ctx context.Context, file int64) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	alarms, err := k.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("list alarms: %w", err)
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if file > k.quota*9/10 {
			k.log.Error("etcd's database is full and all writes are refused: delete objects, or raise the quota", "file", file, "quota", k.quota)
			continue
		}
		if _, err := k.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("disarm the alarm: %w", err)
		}
	}
	return nil
}

// writeSnapshot streams the database to a file, which appears only when it is complete.
func writeSnapshot(ctx context.Context, client *clientv3.Client, file string) error {
	from, err := client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer from.Close()
	part := file + ".part"
	to, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer os.Remove(part)
	_, err = io.Copy(to, from)
	if err == nil {
		err = to.Sync()
	}
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		return fmt.Errorf("snapshot to %s: %w", file, err)
	}
	return nil
}
