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
	pooled *[]byte
}

const chunkSize = 128 * 1024

// chunkBuffers are shared by all answers; a buffer is held only while one is being written.
var chunkBuffers = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

func newChunks(w io.Writer) *chunks {
	pooled := chunkBuffers.Get().(*[]byte)
	return &chunks{w: w, buf: (*pooled)[:0], pooled: pooled}
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
	chunkBuffers.Put(c.pooled)
	c.buf, c.pooled = nil, nil
}
