package server

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// userKey finds the user of a request that came from within this process.
type userKey struct{}

// Transport is the way to the API for a part that runs in the same process: requests pass the whole pipeline under the
// given identity, as those of any client, but no connection, no encryption and no framing. The identity is the
// transport's own and cannot be set by a header.
func (s *Server) Transport(user registry.User) http.RoundTripper {
	return inProcess{s.router, *auth.Authenticated(&user)}
}

type inProcess struct {
	handler http.Handler
	user    registry.User
}

// RoundTrip serves the request in a goroutine of its own, and returns as soon as the head of the answer is there.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), userKey{}, &t.user))
	a := &answer{header: http.Header{}, begun: make(chan struct{}), body: newPipe(cancel)}
	in := served(ctx, r)
	go func() {
		defer cancel()
		defer in.Body.Close()
		a.end(serveSafely(t.handler, a, in))
	}()
	select {
	case <-a.begun:
	case <-r.Context().Done():
		a.body.Close() // nobody will read what the handler may still have to say
		return nil, context.Cause(r.Context())
	}
	length := int64(-1)
	if text := a.sent.Get("Content-Length"); text != "" {
		length, _ = strconv.ParseInt(text, 10, 64)
	}
	return &http.Response{Status: http.StatusText(a.code), StatusCode: a.code, Proto: "HTTP/2.0", ProtoMajor: 2, Header: a.sent,
		ContentLength: length, Body: a.body, Request: r}, nil
}

// served is a client's request as a server sees it.
func served(ctx context.Context, r *http.Request) *http.Request {
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

var errAborted = errors.New("the answer was broken off")

// serveSafely turns a handler's panic, which would end a connection, into an error: http.ErrAbortHandler is the only one
// that the pipeline lets pass.
func serveSafely(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if recover() != nil {
			err = errAborted
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// answer is the http.ResponseWriter of a request from within. Only the serving goroutine writes to it.
type answer struct {
	header http.Header
	begun  chan struct{} // closed once code and sent are set
	code   int
	sent   http.Header
	body   *pipe
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(code int) {
	if a.code != 0 || code < 200 {
		return
	}
	a.code, a.sent = code, maps.Clone(a.header)
	close(a.begun)
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush is for those who ask: every write is delivered at once.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

func (a *answer) end(err error) {
	if err == nil {
		a.WriteHeader(http.StatusOK)
		err = io.EOF
	}
	a.body.finish(err)
	if a.code == 0 {
		a.WriteHeader(http.StatusInternalServerError)
	}
}

// userWithin is the identity of the transport that a request came by; nil if it came over the network.
func userWithin(r *http.Request) *registry.User {
	user, _ := r.Context().Value(userKey{}).(*registry.User)
	return user
}

// pipeLimit is how many bytes of an answer wait for their reader at most.
const pipeLimit = 256 << 10

// pipe is the body of an answer: writes wait in a buffer for the reader.
type pipe struct {
	cancel  context.CancelFunc // ends the serving
	mu      sync.Mutex
	changed sync.Cond
	waiting []byte
	read    int   // bytes of waiting that have been read
	err     error // for the reader, after what waits
	closed  bool  // by the reader
}

func newPipe(cancel context.CancelFunc) *pipe {
	p := &pipe{cancel: cancel}
	p.changed.L = &p.mu
	return p
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && len(p.waiting) > p.read && len(p.waiting)-p.read+len(b) > pipeLimit {
		p.changed.Wait()
	}
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	if p.read == len(p.waiting) {
		p.waiting, p.read = p.waiting[:0], 0
	}
	p.waiting = append(p.waiting, b...)
	p.changed.Broadcast()
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.read == len(p.waiting) && p.err == nil && !p.closed {
		p.changed.Wait()
	}
	switch {
	case p.closed:
		return 0, http.ErrBodyReadAfterClose
	case p.read == len(p.waiting):
		return 0, p.err
	}
	n := copy(b, p.waiting[p.read:])
	if p.read += n; p.read == len(p.waiting) {
		p.waiting, p.read = nil, 0 // an idle stream holds no memory
	}
	p.changed.Broadcast()
	return n, nil
}

// Close ends the serving, if it has not ended.
func (p *pipe) Close() error {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.waiting = true, nil
	p.changed.Broadcast()
	return nil
}

func (p *pipe) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	p.changed.Broadcast()
}
