package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// buffer is where events wait in mode batch. Who puts an event never waits. A batch is sent when it is full, or when its
// first event has waited long enough.
type buffer struct {
	of       *backend
	size     int
	wait     time.Duration
	throttle *rate.Limiter
	senders  chan struct{} // a place for each batch on its way

	mu     sync.Mutex // guards the fields below
	ring   [][]byte
	head   int // the oldest
	count  int
	closed bool

	some   chan struct{} // holds a token while there may be events
	full   chan struct{} // the same for a whole batch
	ended  chan struct{} // is closed when the loop has ended
	ctx    context.Context
	cancel context.CancelFunc
}

func newBuffer(d *Delivery, senders int, of *backend) *buffer {
	b := &buffer{of: of, size: d.BatchSize, wait: d.BatchWait, throttle: rate.NewLimiter(rate.Inf, 1), senders: make(chan struct{}, senders),
		ring: make([][]byte, d.BufferSize), some: make(chan struct{}, 1), full: make(chan struct{}, 1), ended: make(chan struct{})}
	if d.Throttle {
		b.throttle = rate.NewLimiter(rate.Limit(d.QPS), d.Burst)
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	go b.run()
	return b
}

var errFull = errors.New("audit buffer queue blocked")

// put adds an event. Where there is no room, the oldest one gives way: what happens now explains itself less than what
// has been waiting to be told.
func (b *buffer) put(event []byte) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		b.of.lost("buffered", 1, errors.New("audit backend shut down"))
		return
	}
	dropped := b.count == len(b.ring)
	if dropped {
		b.head = (b.head + 1) % len(b.ring)
		b.count--
	}
	b.ring[(b.head+b.count)%len(b.ring)] = event
	b.count++
	whole := b.count >= b.size
	b.mu.Unlock()
	signal(b.some)
	if whole {
		signal(b.full)
	}
	if dropped {
		b.of.lost("buffered", 1, errFull)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends batches until the buffer is closed and empty.
func (b *buffer) run() {
	defer close(b.ended)
	for {
		batch, closed := b.next()
		if len(batch) == 0 {
			if closed {
				return
			}
			continue
		}
		if b.throttle.Wait(b.ctx) != nil {
			b.of.lost("buffered", len(batch), b.ctx.Err())
			continue
		}
		b.senders <- struct{}{}
		go func() {
			defer func() { <-b.senders }()
			_ = b.of.deliver(b.ctx, batch) // what is lost is counted there
		}()
	}
}

// next waits for a batch. It may be empty.
func (b *buffer) next() (batch [][]byte, closed bool) {
	<-b.some
	if b.size > 1 && b.wait > 0 {
		b.fill()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(b.count, b.size)
	batch = make([][]byte, n)
	for i := range batch {
		at := (b.head + i) % len(b.ring)
		batch[i], b.ring[at] = b.ring[at], nil
	}
	b.head, b.count = (b.head+n)%len(b.ring), b.count-n
	if b.count > 0 || b.closed {
		signal(b.some)
	}
	if b.count >= b.size || b.closed {
		signal(b.full)
	}
	return batch, b.closed
}

// fill waits until a batch is complete, or its time has come.
func (b *buffer) fill() {
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-b.full:
	case <-t.C:
	}
}

// close sends what waits, until ctx ends.
func (b *buffer) close(ctx context.Context) {
	defer b.cancel()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	signal(b.some)
	signal(b.full)
	stop := context.AfterFunc(ctx, b.cancel)
	defer stop()
	<-b.ended
	for range cap(b.senders) {
		b.senders <- struct{}{} // every batch has arrived
	}
}
