package server

import (
	"io"
	"sync"
)

// chunks gathers small writes into large ones: an HTTP/2 connection carries three times as much in writes of 64 kB as
// in writes of an object each.
type chunks struct {
	w      io.Writer
	buf    []byte
	err    error
	pool   *chunkPool
	pooled *[]byte
}

const chunkSize = 128 * 1024

// chunkPool keeps the buffers that all answers share; one is held only while an answer is being written.
type chunkPool struct{ buffers sync.Pool }

// to returns an empty chunk that is written to w when it is full.
func (p *chunkPool) to(w io.Writer) *chunks {
	pooled, _ := p.buffers.Get().(*[]byte)
	if pooled == nil {
		b := make([]byte, 0, chunkSize)
		pooled = &b
	}
	return &chunks{w: w, buf: (*pooled)[:0], pool: p, pooled: pooled}
}

// Write never fails; flush tells whether a write to the client did.
func (c *chunks) Write(p []byte) (int, error) {
	if len(c.buf)+len(p) > cap(c.buf) {
		c.flush()
		if len(p) > cap(c.buf) {
			c.write(p)
			return len(p), nil
		}
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

// WriteString is Write.
func (c *chunks) WriteString(s string) (int, error) {
	if len(c.buf)+len(s) > cap(c.buf) {
		return c.Write([]byte(s))
	}
	c.buf = append(c.buf, s...)
	return len(s), nil
}

func (c *chunks) write(p []byte) {
	if c.err == nil && len(p) > 0 {
		_, c.err = c.w.Write(p)
	}
}

func (c *chunks) flush() error {
	c.write(c.buf)
	c.buf = c.buf[:0]
	return c.err
}

// free gives the buffer back.
func (c *chunks) free() {
	c.pool.buffers.Put(c.pooled)
	c.buf, c.pooled = nil, nil
}
