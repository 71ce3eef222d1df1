package store

import (
	"bytes"
	"sync"
)

// A hint saves the stream the decoding of what this process has written itself. Etcd may deliver an event before the
// writer has its answer, so there are two kinds:
//
//   - An intent is left before the transaction: the bytes to be written and what follows from them. It serves an event
//     with the same key and the same bytes, whoever wrote them.
//   - An entry is left after the transaction, under its revision. It also shares the writer's decoded object.
type hints struct {
	mu      sync.Mutex
	intents map[Key]*intent
	entries map[Key]*written
}

type intent struct {
	encoded
	attrs attributes
	taken *Entry // what the stream has made of it, should it have been faster
	store *Store
}

type written struct {
	entry  *Entry
	object Object // held until the stream has seen the entry, which itself holds its object weakly
}

// announce leaves an intent. Of two writers at one key the later replaces the former: either may win.
func (h *hints) announce(k Key, in *intent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.intents == nil {
		h.intents, h.entries = map[Key]*intent{}, map[Key]*written{}
	}
	h.intents[k] = in
}

// settle ends an intent. After a transaction that succeeded, r is its revision and o the object, which is shared from
// now on; settle returns the entry. Otherwise r is 0.
func (h *hints) settle(k Key, in *intent, r Revision, o Object) *Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.intents[k] == in {
		delete(h.intents, k)
	}
	if r == 0 {
		return nil
	}
	e, s := in.taken, in.store
	if e == nil || e.Revision != r {
		e = s.newEntry(k, in.encoded, in.attrs, r)
		if s.present.Load() != nil && s.db.applied.Load() < r {
			h.entries[k] = &written{e, o}
		}
	}
	o.SetResourceVersion(r.String())
	e.remember(o)
	return e
}

// take returns the entry that a hint gives for an event, or nil.
func (h *hints) take(k Key, r Revision, value []byte) *Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.entries[k]; w != nil && w.entry.Revision == r {
		delete(h.entries, k)
		return w.entry
	}
	in := h.intents[k]
	if in == nil || !bytes.Equal(in.value, value) {
		return nil
	}
	in.taken = in.store.newEntry(k, in.encoded, in.attrs, r)
	return in.taken
}

// sweep drops entries whose events have passed without taking them.
func (h *hints) sweep(passed Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, w := range h.entries {
		if w.entry.Revision <= passed {
			delete(h.entries, k)
		}
	}
}
