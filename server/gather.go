package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gather is a listener whose connections write together what is written in quick succession. TLS hands each record of
// 16 kB to the connection by itself, and HTTP/2 each frame that does not wait for another; a system call for each of them
// is what much of a large answer, or of many small ones on one connection, would cost.
type gather struct {
	net.Listener
	buffers *sync.Pool // of *[]byte, shared by the connections
}

func newGather(l net.Listener) gather {
	return gather{l, &sync.Pool{New: func() any { b := make([]byte, 0, gatherLimit); return &b }}}
}

func (l gather) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &gathered{Conn: c}
	g.room.L = &g.mu
	g.buffers = l.buffers
	return g, nil
}

const (
	// gatherLimit is how many bytes wait at most while others are on their way. Who writes more waits too.
	gatherLimit = 64 << 10
	// gatherPatience is how long bytes that were taken are still tried to be sent when the connection is being closed.
	gatherPatience = 5 * time.Second
)

// gathered is a connection with a writer of its own: Write leaves the bytes for it, and all that is left while one
// system call is under way goes out with the next. An error is the answer to a later Write, as it is with the kernel's
// own buffers.
type gathered struct {
	net.Conn
	buffers *sync.Pool
	mu      sync.Mutex
	room    sync.Cond // waiting has been taken, or the writer has stopped
	waiting *[]byte   // nil if nothing waits
	writing bool      // the writer runs
	closing bool      // and closes the connection at its end
	err     error
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && g.waiting != nil && len(*g.waiting)+len(p) > gatherLimit {
		g.room.Wait()
	}
	switch {
	case g.err != nil:
		return 0, g.err
	case g.closing:
		return 0, net.ErrClosed
	case g.waiting == nil:
		g.waiting = g.buffers.Get().(*[]byte)
	}
	*g.waiting = append(*g.waiting, p...)
	if !g.writing {
		g.writing = true
		go g.write()
	}
	return len(p), nil
}

// write is the writer. It ends when nothing waits.
func (g *gathered) write() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.waiting != nil && g.err == nil {
		p := g.waiting
		g.waiting = nil
		g.room.Broadcast()
		g.mu.Unlock()
		_, err := g.Conn.Write(*p)
		*p = (*p)[:0]
		g.buffers.Put(p)
		g.mu.Lock()
		g.err = err
	}
	g.writing = false
	g.room.Broadcast()
	if g.closing {
		g.Conn.Close()
	}
}

// Read is that of the connection; one that is being closed is closed for who still reads, and not late.
func (g *gathered) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closing {
			err = net.ErrClosed
		}
	}
	return n, err
}

// SetWriteDeadline bounds the writes. What was taken before a deadline that has passed already, as TLS sets one when it
// closes, is sent all the same.
func (g *gathered) SetWriteDeadline(t time.Time) error {
	if soonest := time.Now().Add(gatherPatience); !t.IsZero() && t.Before(soonest) {
		t = soonest
	}
	return g.Conn.SetWriteDeadline(t)
}

func (g *gathered) SetDeadline(t time.Time) error {
	return errors.Join(g.Conn.SetReadDeadline(t), g.SetWriteDeadline(t))
}

// Close ends the connection once what was taken is sent, or cannot be.
func (g *gathered) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.writing {
		return g.Conn.Close()
	}
	g.closing = true
	return errors.Join(g.Conn.SetReadDeadline(time.Now()), g.Conn.SetWriteDeadline(time.Now().Add(gatherPatience)))
}
