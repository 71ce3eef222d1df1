package server

import "io"

// lentBody is the body of a request whose seats others may have while the client is slow to send it.
type lentBody struct {
	io.ReadCloser
	seat *seat
	stop func() bool // nil before the first read
}

func (b *lentBody) Read(p []byte) (int, error) {
	if b.stop == nil {
		b.stop = b.seat.lend(clientPatience)
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.stop()
	}
	return n, err
}

// settle ends the lending: the request is over.
func (b *lentBody) settle() {
	if b.stop != nil {
		b.stop()
	}
}
