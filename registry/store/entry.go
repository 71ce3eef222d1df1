package store

import (
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
)

// Entry is one revision of one object; it never changes.
type Entry struct {
	Key
	Revision Revision

	store *Store
	data  []byte // the protobuf message with its resourceVersion, or the JSON as it is stored
	attrs attributes
	// foreign tells that etcd holds other bytes than this process would write: an old version, former defaults, sealed
	// with a former key. An update that changes nothing writes all the same.
	foreign bool
	// broken tells that the stored value cannot be opened or decoded; data is the value then, as etcd has it.
	broken bool
	object atomic.Pointer[decoded]
	memos  memos
}

// Object is the decoded object with its resourceVersion. It is shared: never change it.
func (e *Entry) Object() (Object, error) {
	d := e.object.Load()
	if d == nil {
		e.object.CompareAndSwap(nil, new(decoded))
		d = e.object.Load()
	}
	return d.get(e)
}

// Labels are the object's, as selections see them: it is not decoded.
func (e *Entry) Labels() (labels.Labels, error) { return labelsOf(e), e.check() }

// Proto is the object's protobuf message with its resourceVersion, without envelope; nil for resources stored as JSON.
func (e *Entry) Proto() []byte {
	if e.store.JSON || e.broken {
		return nil
	}
	return e.data
}

// Memo returns what make made of the entry, which is kept under slot as long as the entry is. make may ask for the
// entry's other memos.
func (e *Entry) Memo(slot int, make func(*Entry) ([]byte, error)) ([]byte, error) {
	return e.memos.get(slot, func() ([]byte, error) { return make(e) })
}

// Size is the length of the object's encoding in bytes.
func (e *Entry) Size() int { return len(e.data) }

// brokenness counts an entry that cannot be decoded.
func brokenness(e *Entry) int {
	if e.broken {
		return 1
	}
	return 0
}

// at returns the entry under another revision: a deleted object is shown under the revision of its deletion.
func (e *Entry) at(r Revision) *Entry {
	c := &Entry{Key: e.Key, Revision: r, store: e.store, data: e.data, attrs: e.attrs, foreign: e.foreign, broken: e.broken}
	if !e.store.JSON && !e.broken {
		c.data = withRevision(e.data, r)
	}
	return c
}

// decoded is an entry's object for as long as anybody holds it. The cache itself keeps bytes only: a tree of Go objects
// is many times their size.
type decoded struct {
	mu  sync.Mutex // held while the object is decoded
	ref weak.Pointer[byte]
}

func (d *decoded) get(e *Entry) (Object, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.ref.Value(); p != nil {
		return e.store.objectAt(p), nil
	}
	o, err := e.store.decodeEntry(e)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	d.ref = weakly(o)
	return o, nil
}

// weakly returns a weak pointer to the memory that o points to. All objects of a store have one Go type, so the address
// says it all; a weak pointer to the interface would not outlive the interface.
func weakly(o Object) weak.Pointer[byte] {
	return weak.Make((*byte)(reflect.ValueOf(o).UnsafePointer()))
}

// objectAt is the inverse of weakly.
func (s *Store) objectAt(p *byte) Object {
	return reflect.NewAt(s.elem, unsafe.Pointer(p)).Interface().(Object)
}
