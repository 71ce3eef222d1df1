package nodeagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// The protocol: each message is binary, its first byte the stream to which the rest belongs. Message 255 with the number of
// a stream closes that stream. How it all ended is a Status on the fourth stream.
const webSocketV5 = "v5.channel.k8s.io"

const (
	stdinStream byte = iota
	stdoutStream
	stderrStream
	statusStream
	_
	closeStream byte = 255
)

// serveWebSocket opens the streams, runs what talks through them, and says how it ended.
func serveWebSocket(w http.ResponseWriter, r *http.Request, o *remotecommand.Options, run func(in io.Reader, out, errs io.WriteCloser) error) {
	upgrader := websocket.Upgrader{Subprotocols: []string{webSocketV5}, CheckOrigin: func(*http.Request) bool { return true }} // who asks is known by now
	connection, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer connection.Close()
	socket := &socketStreams{connection: connection}
	var in io.Reader
	into := (*io.PipeWriter)(nil)
	if o.Stdin {
		in, into = io.Pipe()
	}
	go socket.read(into)
	stream := func(wanted bool, n byte) io.WriteCloser {
		if !wanted {
			return nil
		}
		return socketStream{socket, n}
	}
	ended := run(in, stream(o.Stdout, stdoutStream), stream(o.Stderr, stderrStream))
	if status, err := json.Marshal(howItEnded(ended)); err == nil {
		socketStream{socket, statusStream}.Write(status)
	}
	socket.mu.Lock()
	defer socket.mu.Unlock()
	connection.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
}

// howItEnded is the end of a command as a Status: with its exit code, if it has one.
func howItEnded(err error) *metav1.Status {
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return &metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit) && exit.Exited():
		return &metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(exit.ExitStatus())}}}}
	}
	return &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: fmt.Sprintf("Internal error occurred: %v", err)}
}

// socketStreams are the streams of a connection.
type socketStreams struct {
	connection *websocket.Conn
	mu         sync.Mutex // one message at a time is written
}

// read takes what the client writes to where it belongs; into is nil if nobody listens.
func (s *socketStreams) read(into *io.PipeWriter) {
	if into == nil {
		into = discarded()
	}
	defer into.Close()
	for {
		_, message, err := s.connection.ReadMessage()
		if err != nil {
			return
		}
		switch {
		case len(message) == 2 && message[0] == closeStream && message[1] == stdinStream:
			into.Close()
		case len(message) > 1 && message[0] == stdinStream:
			into.Write(message[1:]) // to one who has gone it is nothing
		}
	}
}

// discarded is a pipe at whose end nobody is.
func discarded() *io.PipeWriter {
	r, w := io.Pipe()
	r.Close()
	return w
}

type socketStream struct {
	of     *socketStreams
	number byte
}

func (s socketStream) Write(data []byte) (int, error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if err := s.of.connection.WriteMessage(websocket.BinaryMessage, append([]byte{s.number}, data...)); err != nil {
		return 0, err
	}
	return len(data), nil
}

// Close does nothing: the streams end together.
func (socketStream) Close() error { return nil }
