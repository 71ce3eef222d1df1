package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/registry/store/embedded"
)

// storage is where objects are kept: the etcd embedded in this process, or an external cluster.
type storage struct {
	db     *store.DB
	keys   *sealing // nil: values are stored in plain
	client *clientv3.Client
	etcd   *embedded.Etcd // nil with an external cluster
	others []*storage     // clusters that keep single resources
}

// etcdPatience is how long an external etcd may take to answer before the wait is told of.
const etcdPatience = 3 * time.Second

// openStorage starts or finds etcd and opens the store over it.
func openStorage(ctx context.Context, c *Config, keys *sealing, log *slog.Logger) (*storage, error) {
	s := &storage{keys: keys}
	options := c.storeOptions(keys, log)
	var err error
	if len(c.EtcdServers) == 0 {
		if s.etcd, err = embedded.Start(embedded.Config{Dir: filepath.Join(c.DataDir, "etcd"), Log: log}); err != nil {
			return nil, err
		}
		options.Client, options.Revision = s.etcd.Client(), s.etcd.Revision
	} else {
		if s.client, err = dialEtcd(c, c.EtcdServers); err != nil {
			return nil, err
		}
		options.Client = s.client
		waiting := time.AfterFunc(etcdPatience, func() {
			log.Warn("etcd does not answer; the start waits for it", "servers", c.EtcdServers)
		})
		defer waiting.Stop()
	}
	if s.db, err = store.New(ctx, options); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// storeOptions are those of every database, whichever etcd it is in.
func (c *Config) storeOptions(keys *sealing, log *slog.Logger) store.Options {
	options := store.Options{Root: c.EtcdPrefix, Log: log, CompactEvery: c.EtcdCompaction}
	if keys != nil {
		options.Cipher = keys.cipher
	}
	if c.EtcdCompaction == 0 {
		options.CompactEvery = -1 // never, as the flag says
	}
	return options
}

// all are the databases in use: the main one first, then those of single resources.
func (s *storage) all() []*store.DB {
	dbs := []*store.DB{s.db}
	for _, o := range s.others {
		dbs = append(dbs, o.db)
	}
	return dbs
}

// healthy asks every etcd for a consistent read.
func (s *storage) healthy(ctx context.Context) error {
	for _, db := range s.all() {
		if err := db.Healthy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// split gives resources that are configured so a database in an etcd cluster of their own.
func (s *storage) split(ctx context.Context, c *Config, rows []*registry.Resource, log *slog.Logger) error {
	overrides, err := c.storageOverrides()
	if err != nil {
		return err
	}
	for _, o := range overrides {
		other := &storage{}
		s.others = append(s.others, other)
		if other.client, err = dialEtcd(c, o.Servers); err != nil {
			return err
		}
		options := c.storeOptions(s.keys, log)
		options.Client = other.client
		if other.db, err = store.New(ctx, options); err != nil {
			return fmt.Errorf("--etcd-servers-overrides: %s/%s: %w", o.Group, o.Resource, err)
		}
		found := false
		for _, row := range rows {
			if row.Group == o.Group && row.Plural == o.Resource {
				row.DB, found = other.db, true
			}
		}
		if !found {
			return fmt.Errorf("--etcd-servers-overrides: there is no resource %s/%s", o.Group, o.Resource)
		}
	}
	return nil
}

// dialEtcd connects to an external cluster.
func dialEtcd(c *Config, servers []string) (*clientv3.Client, error) {
	var t *tls.Config
	if c.EtcdCAFile != "" || c.EtcdCertFile != "" {
		info := transport.TLSInfo{TrustedCAFile: c.EtcdCAFile, CertFile: c.EtcdCertFile, KeyFile: c.EtcdKeyFile}
		var err error
		if t, err = info.ClientConfig(); err != nil {
			return nil, fmt.Errorf("--etcd-cafile, --etcd-certfile, --etcd-keyfile: %w", err)
		}
	}
	client, err := store.Dial(servers, t)
	if err != nil {
		return nil, fmt.Errorf("etcd at %v: %w", servers, err)
	}
	return client, nil
}

// close ends the store, and etcd last.
func (s *storage) close() {
	for _, o := range s.others {
		o.close()
	}
	if s.db != nil {
		s.db.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	s.keys.close()
}
