package embedded

import (
	"context"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// seen notes the revision of every answer. While this client is the only way into etcd, the newest revision it has seen
// is at least as new as every write that anybody has been told of. That makes a consistent read from memory free: asking
// etcd itself would start a read transaction each time. (Objects that expire raise the revision too, but no one is told.)
type seen struct {
	clientv3.KV
	revision atomic.Int64
}

func (s *seen) note(revision int64) {
	for {
		old := s.revision.Load()
		if revision <= old || s.revision.CompareAndSwap(old, revision) {
			return
		}
	}
}

func (s *seen) Put(ctx context.Context, key, value string, options ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	r, err := s.KV.Put(ctx, key, value, options...)
	if err == nil {
		s.note(r.Header.Revision)
	}
	return r, err
}

func (s *seen) Delete(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	r, err := s.KV.Delete(ctx, key, options...)
	if err == nil {
		s.note(r.Header.Revision)
	}
	return r, err
}

// Do is what other writes come down to.
func (s *seen) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	r, err := s.KV.Do(ctx, op)
	if err != nil {
		return r, err
	}
	switch {
	case r.Put() != nil:
		s.note(r.Put().Header.Revision)
	case r.Del() != nil:
		s.note(r.Del().Header.Revision)
	case r.Txn() != nil:
		s.note(r.Txn().Header.Revision)
	}
	return r, nil
}

func (s *seen) Txn(ctx context.Context) clientv3.Txn { return &seenTxn{s.KV.Txn(ctx), s} }

type seenTxn struct {
	txn  clientv3.Txn
	seen *seen
}

func (t *seenTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.txn = t.txn.If(cs...); return t }
func (t *seenTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.txn = t.txn.Then(ops...); return t }
func (t *seenTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.txn = t.txn.Else(ops...); return t }

func (t *seenTxn) Commit() (*clientv3.TxnResponse, error) {
	r, err := t.txn.Commit()
	if err == nil {
		t.seen.note(r.Header.Revision)
	}
	return r, err
}
