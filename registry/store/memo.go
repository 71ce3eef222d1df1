package store

import (
	"sync"
	"sync/atomic"
)

// memos are byte strings made of something immutable, each under a slot, each made at most once at a time. The zero
// value is empty and costs a pointer. Making one may ask for others: a compressed form is made of the plain one.
type memos struct{ head atomic.Pointer[memo] }

type memo struct {
	slot int
	next *memo
	mu   sync.Mutex // held while the bytes are made
	done atomic.Bool
	data []byte
}

// get returns the bytes under slot. Where there are none it calls make and keeps what it returns, unless it fails.
func (m *memos) get(slot int, make func() ([]byte, error)) ([]byte, error) {
	c := m.cell(slot)
	if c.done.Load() {
		return c.data, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done.Load() {
		return c.data, nil
	}
	data, err := make()
	if err != nil {
		return nil, err
	}
	c.data = data
	c.done.Store(true)
	return data, nil
}

// cell finds the memo of slot, or adds an empty one.
func (m *memos) cell(slot int) *memo {
	var fresh *memo
	for {
		head := m.head.Load()
		for c := head; c != nil; c = c.next {
			if c.slot == slot {
				return c
			}
		}
		if fresh == nil {
			fresh = &memo{slot: slot}
		}
		fresh.next = head
		if m.head.CompareAndSwap(head, fresh) {
			return fresh
		}
	}
}

// forget drops everything. Those who have taken bytes keep them.
func (m *memos) forget() {
	if m.head.Load() != nil {
		m.head.Store(nil)
	}
}
