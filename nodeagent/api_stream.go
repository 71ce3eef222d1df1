package nodeagent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Streams is where a container is entered, and its ports are reached.
type Streams interface {
	remotecommand.Executor
	remotecommand.Attacher
	portforward.PortForwarder
}

// How long a connection may be silent, and its streams may take to be opened, as upstream's.
const (
	streamIdle  = 4 * time.Hour
	streamOpens = 30 * time.Second
)

// streamed is the pod of a path, with its name for people; it answers itself if there is none.
func (a *Agent) streamed(w http.ResponseWriter, r *http.Request) (pod *corev1.Pod, name string) {
	pod = a.podOf(r)
	if uid := r.PathValue("uid"); pod == nil || uid != "" && pod.UID != types.UID(uid) {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return nil, ""
	}
	return pod, pod.Namespace + "/" + pod.Name
}

func (a *Agent) serveExec(w http.ResponseWriter, r *http.Request) {
	a.serveStreams(w, r, func(pod *corev1.Pod, name string, o *remotecommand.Options) {
		remotecommand.ServeExec(w, r, a.Streams, name, string(pod.UID), r.PathValue("container"), r.URL.Query()["command"], o, streamIdle, streamOpens, remotecommand.SupportedStreamingProtocols)
	}, func(pod *corev1.Pod, name string, in io.Reader, out, errs io.WriteCloser) error {
		return a.Streams.ExecInContainer(r.Context(), name, string(pod.UID), r.PathValue("container"), r.URL.Query()["command"], in, out, errs, false, nil, 0)
	})
}

func (a *Agent) serveAttach(w http.ResponseWriter, r *http.Request) {
	a.serveStreams(w, r, func(pod *corev1.Pod, name string, o *remotecommand.Options) {
		remotecommand.ServeAttach(w, r, a.Streams, name, string(pod.UID), r.PathValue("container"), o, streamIdle, streamOpens, remotecommand.SupportedStreamingProtocols)
	}, func(pod *corev1.Pod, name string, in io.Reader, out, errs io.WriteCloser) error {
		return a.Streams.AttachContainer(r.Context(), name, string(pod.UID), r.PathValue("container"), in, out, errs, false, nil)
	})
}

// serveStreams opens a container's streams: over SPDY or an older WebSocket protocol by upstream's library, over WebSockets
// of version 5, which the library does not have, by its own (api_websocket.go).
func (a *Agent) serveStreams(w http.ResponseWriter, r *http.Request, library func(*corev1.Pod, string, *remotecommand.Options),
	own func(pod *corev1.Pod, name string, in io.Reader, out, errs io.WriteCloser) error) {
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod, name := a.streamed(w, r)
	switch {
	case pod == nil:
	case websocket.IsWebSocketUpgrade(r) && slices.Contains(websocket.Subprotocols(r), webSocketV5):
		serveWebSocket(w, r, o, func(in io.Reader, out, errs io.WriteCloser) error { return own(pod, name, in, out, errs) })
	default:
		library(pod, name, o)
	}
}

func (a *Agent) servePortForward(w http.ResponseWriter, r *http.Request) {
	o, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if pod, name := a.streamed(w, r); pod != nil {
		portforward.ServePortForward(w, r, a.Streams, name, string(pod.UID), o, streamIdle, streamOpens, portforward.SupportedProtocols)
	}
}

// serveRun runs a command and answers with what it writes.
func (a *Agent) serveRun(w http.ResponseWriter, r *http.Request) {
	pod, name := a.streamed(w, r)
	if pod == nil {
		return
	}
	var said closable
	err := a.Streams.ExecInContainer(r.Context(), name, string(pod.UID), r.PathValue("container"), strings.Split(r.URL.Query().Get("cmd"), " "), nil, &said, &said, false, nil, 0)
	if err != nil {
		http.Error(w, fmt.Sprintf("%v: %s", err, said.Bytes()), http.StatusInternalServerError)
		return
	}
	w.Write(said.Bytes())
}

// closable is a buffer that can be closed, to no effect.
type closable struct{ bytes.Buffer }

func (*closable) Close() error { return nil }
