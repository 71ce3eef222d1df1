package chaos

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/knarr-dev/knarr/test/parts"
)

// wire is the way from one part to the API server. What is wrong with it may change at any time.
type wire struct {
	next http.RoundTripper

	mu      sync.Mutex // guards the fields below
	random  *rand.Rand
	ills    ills
	watches map[*lateBody]bool
	writes  sync.WaitGroup // those under way at the API server, also when nobody waits for them any more
}

// ills are what a wire suffers from.
type ills struct {
	cut    bool          // nothing goes through, and what was open breaks
	refuse float64       // share of requests that do not arrive
	deny   string        // method of requests of which none does
	lose   float64       // share of answers to writes that do not come back
	late   time.Duration // by which watches deliver what they deliver
	of     string        // the only resource whose watches are late; empty for all
}

func newWire(next http.RoundTripper, seed uint64) *wire {
	return &wire{next: next, random: rand.New(rand.NewPCG(seed, seed)), watches: map[*lateBody]bool{}}
}

// suffer changes what is wrong.
func (w *wire) suffer(i ills) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ills = i
	if i.cut {
		for body := range w.watches {
			body.breakOff()
		}
	}
}

// settle waits until nothing that was written through the wire is under way. A part that is killed may have sent what the API
// server has not looked at yet: that comes to its end before a new leader reads, as a lease lasts longer than a request may.
func (w *wire) settle() { w.writes.Wait() }

var (
	errCut  = errors.New("the wire is cut")
	errLost = errors.New("the connection broke before the answer came")
)

func (w *wire) chance(share func(ills) float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Float64() < share(w.ills)
}

func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ills.cut
}

func (w *wire) denies(method string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ills.deny == method
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.isCut() || w.denies(r.Method) || w.chance(func(i ills) float64 { return i.refuse }) {
		return nil, errCut
	}
	if r.Method == http.MethodGet {
		answer, err := w.next.RoundTrip(r)
		if err == nil && r.URL.Query().Get("watch") == "true" {
			answer.Body = w.delay(answer.Body, path.Base(r.URL.Path))
		}
		return answer, err
	}
	return w.write(r)
}

// write lets a write come to its end at the API server whatever becomes of the one who waits for it.
func (w *wire) write(r *http.Request) (*http.Response, error) {
	type outcome struct {
		answer *http.Response
		err    error
	}
	done := make(chan outcome, 1)
	w.writes.Go(func() {
		sent, end := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
		answer, err := w.next.RoundTrip(r.WithContext(sent))
		if err == nil {
			answer.Body = &lastBody{answer.Body, end}
		} else {
			end()
		}
		done <- outcome{answer, err}
	})
	select {
	case o := <-done:
		if o.err == nil && (w.isCut() || w.chance(func(i ills) float64 { return i.lose })) {
			io.Copy(io.Discard, o.answer.Body)
			o.answer.Body.Close()
			return nil, errLost
		}
		return o.answer, o.err
	case <-r.Context().Done():
		go func() {
			if o := <-done; o.err == nil {
				o.answer.Body.Close()
			}
		}()
		return nil, r.Context().Err()
	}
}

// lastBody ends its request's context when it is closed.
type lastBody struct {
	io.ReadCloser
	end context.CancelFunc
}

func (b *lastBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// lateBody hands on what comes, in order, as late as the wire says at the time.
type lateBody struct {
	*io.PipeReader
	body     io.Closer
	resource string
	done     chan struct{}
	once     sync.Once
}

func (w *wire) delay(body io.ReadCloser, resource string) io.ReadCloser {
	b := &lateBody{body: body, resource: resource, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	b.PipeReader = parts.Late(body, func(at time.Time) bool { return w.hold(b, at) }, func() {
		w.mu.Lock()
		delete(w.watches, b)
		w.mu.Unlock()
	})
	w.watches[b] = true
	if w.ills.cut {
		b.breakOff()
	}
	return b
}

// hold waits until a piece is as late as it has to be. How late that is may change meanwhile.
func (w *wire) hold(b *lateBody, at time.Time) bool {
	for {
		w.mu.Lock()
		rest := time.Until(at.Add(w.ills.late))
		if w.ills.of != "" && w.ills.of != b.resource {
			rest = 0
		}
		w.mu.Unlock()
		if rest <= 0 {
			return true
		}
		select {
		case <-b.done:
			return false
		case <-time.After(min(rest, 50*time.Millisecond)):
		}
	}
}

// breakOff ends a watch as a broken connection does.
func (b *lateBody) breakOff() {
	b.once.Do(func() {
		close(b.done)
		b.body.Close()
		b.CloseWithError(errCut)
	})
}

func (b *lateBody) Close() error {
	b.breakOff()
	return nil
}
