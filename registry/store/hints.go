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
//   - An entry is left after the transaction, under its revision, and may have memos already: the answer to the writer.
//     Who changes the object next starts from it.
type hints struct {
	mu      sync.Mutex
	intents map[Key]*intent
	entries map[Key]*Entry
}

type intent struct {
	encoded // value is sealed, as the event will bring it
	attrs   attributes
	taken   *Entry // what the stream has made of it, should it have been faster
	store   *Store
}

// announce leaves an intent. Of two writers at one key the later replaces the former: either may win.
func (h *hints) announce(k Key, in *intent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.intents == nil {
		h.intents, h.entries = map[Key]*intent{}, map[Key]*Entry{}
	}
	h.intents[k] = in
}

// settle ends an intent and returns the entry that came of it. r is the revision of a transaction that succeeded;
// otherwise it is 0, and there is no entry.
func (h *hints) settle(k Key, in *intent, r Revision) *Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.intents[k] == in {
		delete(h.intents, k)
	}
	if r == 0 {
		return nil
	}
	if in.taken != nil && in.taken.Revision == r {
		return in.taken
	}
	s := in.store
	e := s.newEntry(k, in.encoded, in.attrs, r)
	if last := h.entries[k]; s.present.Load() != nil && s.db.applied.Load() < r && (last == nil || last.Revision < r) {
		h.entries[k] = e
	}
	return e
}

// take returns the entry that a hint gives for an event, or nil.
func (h *hints) take(k Key, r Revision, value []byte) *Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.entries[k]; e != nil && e.Revision == r {
		return e
	}
	in := h.intents[k]
	if in == nil || !bytes.Equal(in.value, value) {
		return nil
	}
	in.taken = in.store.newEntry(k, in.encoded, in.attrs, r)
	return in.taken
}

// written is what this process has written last at a key, as long as the cache has not come as far; else nil.
func (h *hints) written(k Key) *Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[k]
}

// sweep drops entries that readers find in the cache by now.
func (h *hints) sweep(passed Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, e := range h.entries {
		if e.Revision <= passed {
			delete(h.entries, k)
		}
	}
}
