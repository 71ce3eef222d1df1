package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Limits of a connection, as upstream sets them.
const (
	readHeaderTimeout = 32 * time.Second
	idleTimeout       = 90 * time.Second
	streamsPerConn    = 100
)

// stuckAfter is when a client that takes nothing of its answer is given up: of a watch, or of a whole connection.
const stuckAfter = time.Minute

// listen opens the port.
func (c *Config) listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(c.BindAddress.String(), strconv.Itoa(c.SecurePort)))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: stop who has it, or choose another port with --secure-port", err)
	}
	return l, err
}

// serve answers requests on the listener until ctx ends, and then shuts down gracefully: no new connections, streams
// are ended by endStreams, other requests in flight may take until patience is over. An answer that is no stream has
// been taken after limit, or its client has lost it.
func serve(ctx context.Context, l net.Listener, t *tls.Config, h http.Handler, endStreams func(), limit, patience time.Duration, logger *slog.Logger) error {
	s := &http.Server{
		Handler: forgetful(h), TLSConfig: t,
		ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: limit, IdleTimeout: idleTimeout, MaxHeaderBytes: 1 << 20,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn, WriteByteTimeout: stuckAfter},
		ErrorLog: log.New(connectionNoise{logger}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(newGather(l), "", "") }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.RegisterOnShutdown(endStreams)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.Shutdown(leave); err != nil {
		s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// forgetful lets go of a request's headers and URL once it has been answered. On HTTP/2 an answer may have to wait for
// as long as its client lets it, a hundred of them a connection, each with a megabyte of what was asked.
func forgetful(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			makeRoom()
		} else {
			makeRoomToWrite()
		}
		h.ServeHTTP(w, r)
		if r.ProtoMajor == 2 {
			r.Header, r.URL, r.RequestURI = nil, nil, ""
		}
	})
}

// makeRoom grows the stack of the goroutine, which HTTP/2 starts anew for each request, to what nearly every request
// needs. Here it is nearly empty; as it is needed it would be copied several times, each time with more on it.
//
//go:noinline
func makeRoom() {
	var room [6 << 10]byte
	runtime.KeepAlive(&room)
}

// makeRoomToWrite is the same for requests that bring an object, or change one: decoding a pod takes more than reading
// one, which needs no decoding.
//
//go:noinline
func makeRoomToWrite() {
	var room [13 << 10]byte
	runtime.KeepAlive(&room)
}

// connectionNoise takes what net/http has to say of single connections (a handshake that failed, a client that left):
// of interest to those who look for it only.
type connectionNoise struct{ log *slog.Logger }

func (n connectionNoise) Write(line []byte) (int, error) {
	n.log.Debug("connection", "what", string(line[:max(0, len(line)-1)]))
	return len(line), nil
}
