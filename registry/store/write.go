package store

import (
	"bytes"
	"context"
	"time"
	"unsafe"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Outcome is what an update decides: the zero value leaves the object as it is.
type Outcome struct {
	Put    Object        // store this
	TTL    time.Duration // with Put: the object's life; zero is for ever
	Delete bool          // remove the object
}

// writePatience bounds a transaction: an etcd that is away must not hold its writers for ever.
const writePatience = 10 * time.Second

// Create stores a new object. ttl bounds its life; zero is for ever. Create fails with 409 AlreadyExists if the key is
// taken. o loses what is not stored (resourceVersion); the entry's object is another, as it is read back: empty lists
// have become absent, times have lost what is below their precision.
func (s *Store) Create(ctx context.Context, k Key, o Object, ttl time.Duration) (*Entry, error) {
	enc, err := s.encodeNew(o)
	if err != nil {
		return nil, err
	}
	e, _, err := s.put(ctx, k, write{o, enc, ttl}, 0)
	if err == nil && e == nil {
		return nil, apierrors.NewAlreadyExists(s.Resource, k.Name)
	}
	return e, err
}

// Update decides on the current object (nil: there is none) and writes the outcome, again and again until no other
// write came in between. It returns the entry after the write; after a Delete the removed one under the delete's revision.
//
// This is the only compare-and-swap loop. Each turn:
//
//  1. takes the current entry: at first the cached one, or what this process has written since, which is nearly always
//     right and costs no round trip; after a collision the one that won, which etcd's answer brings along;
//  2. lets decide make up its mind. decide must be a function of what it is given: it may run several times, and
//     what it returned before is forgotten. It must not change the current object, which others read;
//  3. if the outcome is not a write (a refusal, or the object stays as it is), makes sure that it was decided on the
//     present state, since a cached entry may be behind: the same entry is still current, or else another turn. So no
//     client is ever refused, or told that there was nothing to do, on the ground of a past that it may know is over;
//  4. writes, on the condition that the object's revision is still the one that was decided on. The condition is what
//     makes step 1's shortcut safe: an outcome of a stale entry cannot be written.
//
// An outcome that encodes to the very bytes that are stored writes nothing: the revision stays, and no watcher is woken.
// Bytes of another make (an old version, former defaults, a former key) are written anew even so, which is how storage is
// migrated.
//
// An error of etcd that leaves open whether the write took place is returned as it is: only the client can know whether
// trying again is right.
func (s *Store) Update(ctx context.Context, k Key, decide func(current *Entry) (Outcome, error)) (*Entry, error) {
	current, verified, err := s.start(ctx, k)
	for err == nil {
		outcome, refusal := decide(current)
		if refusal == nil && current == nil && (outcome.Delete || outcome.Put == nil) {
			refusal = s.notFound(k)
		}
		w := write{object: outcome.Put, ttl: outcome.TTL}
		if refusal == nil && outcome.Put != nil && !outcome.Delete {
			encode := s.encode
			if current == nil {
				encode = s.encodeNew
			}
			w.encoded, refusal = encode(outcome.Put)
		}
		same := refusal == nil && !outcome.Delete && current.holds(w)
		if same && outcome.Put != nil {
			var stale bool
			if stale, err = s.stale(ctx, current); err != nil {
				break
			}
			same = !stale
		}
		if refusal != nil || same {
			now := current
			if !verified {
				if now, err = s.fresh(ctx, k); err != nil {
					break
				}
			}
			if revisionOf(now) == revisionOf(current) {
				return now.orRefused(refusal)
			}
			current, verified = now, true
			continue
		}
		var e, winner *Entry
		if outcome.Delete {
			e, winner, err = s.remove(ctx, k, current)
		} else {
			e, winner, err = s.put(ctx, k, w, revisionOf(current))
		}
		if e != nil {
			return e, nil
		}
		current, verified = winner, true
	}
	return nil, err
}

// start is the entry that the first turn decides on, and whether it is known to be current.
func (s *Store) start(ctx context.Context, k Key) (current *Entry, verified bool, err error) {
	if e := s.hints.written(k); e != nil {
		return e, false, nil
	}
	if e := s.cached(k); e != nil {
		return e, false, nil
	}
	s.fill() // what is updated will be read: the next update starts from the cache
	current, err = s.fresh(ctx, k)
	return current, true, err
}

// orRefused is the result of an update that writes nothing.
func (e *Entry) orRefused(refusal error) (*Entry, error) {
	if refusal != nil {
		return nil, refusal
	}
	return e, nil
}

func revisionOf(e *Entry) Revision {
	if e == nil {
		return 0
	}
	return e.Revision
}

// fresh returns the entry that is current now, or nil. The cache knows if it is up to date; else etcd is asked.
func (s *Store) fresh(ctx context.Context, k Key) (*Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdPatience)
	defer cancel()
	if p := s.present.Load(); p != nil && p.live && s.db.revision != nil {
		if _, r := s.view(); r >= Revision(s.db.revision()) {
			return s.cached(k), nil
		}
	}
	response, err := s.db.client.Get(ctx, s.prefix+k.path())
	if err != nil {
		return nil, etcdError(err)
	}
	return s.winner(response.Kvs), nil
}

// winner makes an entry of what a read of one key has found.
func (s *Store) winner(kvs []*mvccpb.KeyValue) *Entry {
	if len(kvs) == 0 {
		return nil
	}
	return s.entryAt(kvs[0])
}

// write is an object on its way to etcd.
type write struct {
	object Object // nil: nothing is to be written
	encoded
	ttl time.Duration
}

// holds reports that w would change nothing.
func (e *Entry) holds(w write) bool {
	switch {
	case w.object == nil:
		return true
	case e == nil || e.foreign || e.broken:
		return false
	case e.store.JSON:
		return bytes.Equal(e.data, w.body)
	}
	return equalButRevision(e.data, w.body)
}

// put writes w if the object's revision is still revision (0: there is none). If it is not, put returns the entry that
// is there instead.
func (s *Store) put(ctx context.Context, k Key, w write, revision Revision) (written, winner *Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var options []clientv3.OpOption
	if w.ttl > 0 {
		id, err := s.db.leases.grant(ctx, w.ttl)
		if err != nil {
			return nil, nil, etcdError(err)
		}
		options = append(options, clientv3.WithLease(id))
	}
	written, winner, err = s.swap(ctx, k, w, revision, options)
	if isTooLarge(err) && len(w.object.GetManagedFields()) > 0 {
		// What clients do not see by default should not keep them from storing the rest.
		w.object.SetManagedFields(nil)
		if w.encoded, err = s.encode(w.object); err == nil {
			written, winner, err = s.swap(ctx, k, w, revision, options)
		}
	}
	if err != nil {
		return nil, nil, etcdError(err)
	}
	s.settle(ctx, written)
	return written, winner, nil
}

// swap is put's transaction. The stream is told beforehand what is about to come.
func (s *Store) swap(ctx context.Context, k Key, w write, revision Revision, options []clientv3.OpOption) (written, winner *Entry, err error) {
	sealed, err := s.seal(ctx, k, w.value)
	if err != nil {
		return nil, nil, err
	}
	in := &intent{encoded: w.encoded, attrs: attributesOf(w.object, s.Fields), store: s}
	in.value = sealed
	s.hints.announce(k, in)
	// The value is not changed any more, so a string may share its memory.
	value := unsafe.String(unsafe.SliceData(sealed), len(sealed))
	key := s.prefix + k.path()
	r, winner, err := s.transact(ctx, key, revision, clientv3.OpPut(key, value, options...))
	return s.hints.settle(k, in, r), winner, err
}

// remove deletes the object if current is still its state.
func (s *Store) remove(ctx context.Context, k Key, current *Entry) (removed, winner *Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	key := s.prefix + k.path()
	r, winner, err := s.transact(ctx, key, current.Revision, clientv3.OpDelete(key))
	if err != nil {
		return nil, nil, etcdError(err)
	}
	if r == 0 {
		return nil, winner, nil
	}
	removed = current.at(r)
	s.settle(ctx, removed)
	return removed, nil, nil
}

// transact does op if the key's revision is still revision, and returns the transaction's. Otherwise it returns 0 and
// the entry that is there, nil if there is none.
func (s *Store) transact(ctx context.Context, key string, revision Revision, op clientv3.Op) (Revision, *Entry, error) {
	response, err := s.db.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", int64(revision))).
		Then(op).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return 0, nil, err
	}
	if response.Succeeded {
		return Revision(response.Header.Revision), nil, nil
	}
	return 0, s.winner(response.Responses[0].GetResponseRange().Kvs), nil
}
