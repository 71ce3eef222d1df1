package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Cipher keeps the values of a resource from those who can read etcd alone. Only etcd holds what it makes: entries,
// rings and snapshots hold plain values. Package encryption has one.
type Cipher interface {
	// Seal is the value as etcd gets it, under an etcd key.
	Seal(ctx context.Context, key string, plain []byte) ([]byte, error)
	// Open is the inverse of Seal. stale tells that Seal would use another key today: an update that changes nothing
	// writes all the same. That may change at any time.
	Open(ctx context.Context, key string, sealed []byte) (plain []byte, stale bool, err error)
}

// sealedMark begins every sealed value, upstream's too.
const sealedMark = "k8s:enc:"

var errSealed = errors.New("identity transformer tried to read encrypted data")

// seal is a value as etcd gets it.
func (s *Store) seal(ctx context.Context, k Key, plain []byte) ([]byte, error) {
	if s.cipher == nil {
		return plain, nil
	}
	sealed, err := s.cipher.Seal(ctx, s.prefix+k.path(), plain)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return sealed, nil
}

// unseal is the value that etcd holds, in plain.
func (s *Store) unseal(ctx context.Context, k Key, value []byte) (plain []byte, stale bool, err error) {
	switch {
	case s.cipher != nil:
		return s.cipher.Open(ctx, s.prefix+k.path(), value)
	case bytes.HasPrefix(value, []byte(sealedMark)):
		return nil, false, errSealed
	}
	return value, false, nil
}

// stale reports whether etcd holds the entry's value sealed otherwise than it would be today. What is current is not
// known from the cache: the keys may have changed since. An object that is not there under that revision any more is
// not stale: the write that would follow could not succeed.
func (s *Store) stale(ctx context.Context, e *Entry) (bool, error) {
	if s.cipher == nil || e == nil || e.foreign || e.broken {
		return false, nil // not sealed at all, or to be written anyway
	}
	response, err := s.db.client.Get(ctx, s.prefix+e.path())
	if err != nil {
		return false, etcdError(err)
	}
	if len(response.Kvs) == 0 || Revision(response.Kvs[0].ModRevision) != e.Revision {
		return false, nil
	}
	_, stale, err := s.unseal(ctx, e.Key, response.Kvs[0].Value)
	return stale, err
}

// mendEvery is how often values that could not be opened are tried again.
const mendEvery = 2 * time.Second

// mend reads collections anew in which a value can be opened now that could not before: keys were added, or a service
// that holds them has come back.
func (db *DB) mend() {
	for db.pause(mendEvery) {
		for _, s := range db.all() {
			if p := s.present.Load(); p != nil && p.live && p.broken > 0 && s.cipher != nil && s.canOpen(p) {
				s.interrupt()
			}
		}
	}
}

// mendPatience bounds the calls to a service that may be away.
const mendPatience = 5 * time.Second

// canOpen reports whether an entry that is broken would not be any more.
func (s *Store) canOpen(p *present) (can bool) {
	ctx, cancel := context.WithTimeout(s.db.ctx, mendPatience)
	defer cancel()
	p.root.all(func(e *Entry) {
		if e.broken && !can && ctx.Err() == nil {
			plain, _, err := s.unseal(ctx, e.Key, e.data)
			if err == nil {
				_, err = s.decode(plain)
			}
			can = err == nil
		}
	})
	return can
}

// listed is the error of a list that holds the broken entry.
func (e *Entry) listed() error {
	_, _, err := e.store.unseal(e.store.db.ctx, e.Key, e.data)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("unable to transform key %q: %w", e.store.prefix+e.path(), err))
	}
	return e.check()
}
