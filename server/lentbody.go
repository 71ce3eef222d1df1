package server

import (
	"context"
	"io"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// mostLent is how many bytes of bodies the server holds for requests without seats. Seats bound what all others hold;
// beyond this, clients who are slow to send their bodies are told to come again.
const mostLent = 128 << 20

// lentBody is the body of a request whose seats others may have while the client is slow to send it. Once it is there, the
// request queues for seats again: it has work to do now.
type lentBody struct {
	io.ReadCloser
	ctx     context.Context
	seat    *seat
	all     *atomic.Int64 // bytes that the server holds for requests without seats
	stop    func() bool   // ends the lending; nil before the first read, and after the last
	ended   bool          // read as a whole, or as far as can be
	size    int64         // read so far
	counted int64         // of it, in all
}

func (b *lentBody) Read(p []byte) (int, error) {
	if b.stop == nil && !b.ended {
		b.stop = b.seat.lend(clientPatience)
	}
	n, err := b.ReadCloser.Read(p)
	b.size += int64(n)
	switch {
	case b.ended:
	case err != nil:
		b.ended = true
		if !b.settle() && err == io.EOF && !b.seat.enter(b.ctx) {
			err = b.comeAgain()
		}
	case b.seat.away.Load() && !b.hold():
		return n, b.comeAgain()
	}
	return n, err
}

// hold counts what a request without seats holds; it returns false if that is too much for the server.
func (b *lentBody) hold() bool {
	now := b.all.Add(b.size - b.counted)
	b.counted = b.size
	return now <= mostLent
}

// settle ends the lending. It returns false if the seats are gone.
func (b *lentBody) settle() bool {
	b.all.Add(-b.counted)
	b.counted = 0
	stop := b.stop
	b.stop = nil
	return stop == nil || stop()
}

func (b *lentBody) comeAgain() error {
	return apierrors.NewTooManyRequests(tooManyWord, int(b.seat.schema.RetryAfter()))
}
