package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is a client with a connection of its own that does as little as possible: requests are HEADERS and DATA frames,
// one request at a time, and of answers only the status is looked at. Server and load share the processors, and a client
// that decoded what it reads would be what is measured.
type wire struct {
	conn    net.Conn
	host    string
	framer  *http2.Framer
	out     bytes.Buffer // frames that go out in one write
	headers bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	status  int
	ended   bool   // the answer has been read to its end
	next    uint32 // stream
	taken   uint32 // bytes of answers since the connection's window was last widened
}

// largestFrame is what Go's HTTP/2 client allows too.
const largestFrame = 1 << 20

// widened is after how many bytes the connection's window is widened again.
const widened = 1 << 28

// dial opens a connection to the server.
func (s *server) dial(ctx context.Context) (*wire, error) {
	host := strings.TrimPrefix(s.url, "https://")
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Minute)) // longer than any phase takes
	w := &wire{conn: conn, host: host, next: 1}
	w.framer = http2.NewFramer(&w.out, bufio.NewReaderSize(conn, 64<<10))
	w.framer.SetReuseFrames()
	w.framer.SetMaxReadFrameSize(largestFrame)
	w.encoder = hpack.NewEncoder(&w.headers)
	w.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			w.status, _ = strconv.Atoi(f.Value)
		}
	})
	w.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		w.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: math.MaxInt32},
			http2.Setting{ID: http2.SettingMaxFrameSize, Val: largestFrame}, http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		w.framer.WriteWindowUpdate(0, math.MaxInt32-65535))
	if err == nil {
		err = w.send()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

// dialMany opens n connections, as n separate processes would.
func (s *server) dialMany(ctx context.Context, n int) (wires, error) {
	var all wires
	for range n {
		w, err := s.dial(ctx)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// wires are connections that are closed together.
type wires []*wire

func (all wires) close() {
	for _, w := range all {
		w.conn.Close()
	}
}

// A request is what goes out.
type request struct {
	method, path string
	accept       string // mediaProtobuf if empty
	encoding     string // identity if empty
	contentType  string
	token        string // the admin's if empty
	body         []byte
}

// ask sends a request and reads the whole answer.
func (w *wire) ask(r request) error {
	if err := w.start(r); err != nil {
		return err
	}
	for {
		_, last, err := w.data()
		if err != nil || last {
			return err
		}
	}
}

// start sends a request and reads the head of the answer, which has to be one of success.
func (w *wire) start(r request) error {
	w.headers.Reset()
	fields := []string{":method", r.method, ":scheme", "https", ":authority", w.host, ":path", r.path,
		"accept", or(r.accept, mediaProtobuf), "accept-encoding", or(r.encoding, "identity"), "user-agent", "bench",
		"authorization", "Bearer " + or(r.token, token)}
	if r.body != nil {
		fields = append(fields, "content-type", r.contentType, "content-length", strconv.Itoa(len(r.body)))
	}
	for i := 0; i < len(fields); i += 2 {
		if err := w.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			return err
		}
	}
	stream := w.next
	w.next += 2
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.headers.Bytes(), EndHeaders: true, EndStream: r.body == nil})
	if err == nil && r.body != nil {
		err = w.framer.WriteData(stream, true, r.body)
	}
	if err == nil {
		err = w.send()
	}
	if err != nil {
		return err
	}
	w.status, w.ended = 0, false
	for w.status == 0 {
		if _, err := w.frame(); err != nil {
			return err
		}
	}
	if w.status/100 != 2 {
		body, _ := io.ReadAll(&body{wire: w})
		return fmt.Errorf("%s %s: %d %.200s", r.method, r.path, w.status, body)
	}
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *wire) send() error {
	_, err := w.conn.Write(w.out.Bytes())
	w.out.Reset()
	return err
}

// data is the next piece of the answer's body, good until the next call, and whether it is the last.
func (w *wire) data() (p []byte, last bool, err error) {
	for !w.ended && err == nil && len(p) == 0 {
		p, err = w.frame()
	}
	return p, w.ended, err
}

// frame reads one frame and answers what has to be answered.
func (w *wire) frame() (data []byte, err error) {
	f, err := w.framer.ReadFrame()
	if err != nil {
		return nil, err
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		w.ended = f.StreamEnded()
		_, err = w.decoder.Write(f.HeaderBlockFragment())
	case *http2.DataFrame:
		if w.taken += f.Length; w.taken >= widened {
			if err = w.framer.WriteWindowUpdate(0, w.taken); err == nil {
				err = w.send()
			}
			w.taken = 0
		}
		w.ended = f.StreamEnded()
		return f.Data(), err
	case *http2.SettingsFrame:
		if !f.IsAck() {
			w.framer.WriteSettingsAck()
			err = w.send()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			w.framer.WritePing(true, f.Data)
			err = w.send()
		}
	case *http2.RSTStreamFrame:
		err = fmt.Errorf("the server reset the stream: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		err = fmt.Errorf("the server closes the connection: %v", f.ErrCode)
	}
	return nil, err
}

// body reads an answer's body as a stream.
type body struct {
	*wire
	rest []byte
	last bool
}

func (b *body) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.last {
			return 0, io.EOF
		}
		var err error
		if b.rest, b.last, err = b.data(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
