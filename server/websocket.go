package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/knarr-dev/knarr/registry/store"
)

// closeWait is how long a client may take to answer that the stream is over.
const closeWait = time.Second

// watchSocket follows a watch over a WebSocket: a message an event, text for JSON, binary for protobuf (where the
// message's own length takes the place of the frame's).
func (c *call) watchSocket(ctx context.Context, cancel context.CancelFunc, cursor *store.Watcher, frames *frameWriter, refused error) error {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }} // who asks is known by the credential
	socket, err := upgrader.Upgrade(c.w, c.r, nil)
	if err != nil {
		return nil // Upgrade has answered
	}
	defer socket.Close()
	go func() { // ends with the connection; all that a client can say is that it leaves
		defer cancel()
		for {
			if _, _, err := socket.NextReader(); err != nil { // what it says is passed over, not kept
				return
			}
		}
	}()
	send := func(write func(*chunks)) error {
		var message bytes.Buffer
		out := c.s.chunks.to(&message)
		defer out.free()
		write(out)
		out.flush()
		_ = socket.SetWriteDeadline(time.Now().Add(stuckAfter)) // fails where the write will
		if frames.form.Format == Protobuf {
			message.Next(4)
			return socket.WriteMessage(websocket.BinaryMessage, message.Bytes())
		}
		return socket.WriteMessage(websocket.TextMessage, message.Bytes())
	}
	if refused != nil {
		send(func(out *chunks) { frames.fail(out, statusOf(refused)) })
	} else {
		followSocket(ctx, cursor, frames, send)
	}
	return socket.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeWait))
}

// Protocols in which a log is sent over a WebSocket: as it is, or in base64, a text message a piece. Without one it is sent as it
// is.
const (
	binaryLog = "binary.k8s.io"
	base64Log = "base64.binary.k8s.io"
	// logPiece is how many bytes a message has at most.
	logPiece = 2048
)

// logSocket sends a log over a WebSocket, after an empty message which says that it begins.
func (c *call) logSocket(log io.Reader) error {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{binaryLog, base64Log}}
	socket, err := upgrader.Upgrade(c.w, c.r, nil)
	if err != nil {
		return nil // Upgrade has answered
	}
	defer socket.Close()
	send := func(piece []byte) error {
		_ = socket.SetWriteDeadline(time.Now().Add(stuckAfter)) // fails where the write will
		if socket.Subprotocol() == base64Log {
			return socket.WriteMessage(websocket.TextMessage, []byte(base64.StdEncoding.EncodeToString(piece)))
		}
		return socket.WriteMessage(websocket.BinaryMessage, piece)
	}
	err = send(nil)
	for piece := make([]byte, logPiece); err == nil; {
		n, ended := log.Read(piece)
		if n > 0 {
			err = send(piece[:n])
		}
		if ended != nil {
			break
		}
	}
	return socket.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeWait))
}

// followSocket sends events until the watch or the connection ends.
func followSocket(ctx context.Context, cursor *store.Watcher, frames *frameWriter, send func(func(*chunks)) error) {
	var due []store.Event
	for {
		var err error
		if due, err = cursor.Next(ctx, due[:0]); err != nil {
			if ctx.Err() == nil {
				send(func(out *chunks) { frames.fail(out, statusOf(err)) })
			}
			return
		}
		for _, e := range due {
			if send(func(out *chunks) { err = frames.event(out, e) }) != nil || err != nil {
				return
			}
		}
	}
}
