package server

import (
	"context"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// lentBody is the body of a request whose seats others may have while the client is slow to send it. Once it is there, the
// request queues for seats again: it has work to do now.
type lentBody struct {
	io.ReadCloser
	ctx  context.Context
	seat *seat
	stop func() bool // nil before the first read, and after the last
	read bool        // as a whole, or as far as can be
}

func (b *lentBody) Read(p []byte) (int, error) {
	if b.stop == nil && !b.read {
		b.stop = b.seat.lend(clientPatience)
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !b.read {
		b.read = true
		if !b.settle() && err == io.EOF && !b.seat.enter(b.ctx) {
			err = apierrors.NewTooManyRequests(tooManyWord, int(b.seat.schema.RetryAfter()))
		}
	}
	return n, err
}

// settle ends the lending. It returns false if the seats are gone.
func (b *lentBody) settle() bool {
	stop := b.stop
	b.stop = nil
	return stop == nil || stop()
}
