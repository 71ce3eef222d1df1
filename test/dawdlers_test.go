package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/test/cluster"
)

// raw opens connections on which a client can do what no library lets it do.
type raw struct {
	t       *testing.T
	address string
	tls     *tls.Config
}

func rawTo(t *testing.T, c *cluster.Cluster) raw {
	t.Helper()
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return raw{t, strings.TrimPrefix(c.URL, "https://"), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
}

// many opens connections, some at a time, and sends each the same; they stay open until the test ends.
func (r raw) many(n int, protocol string, send func(*tls.Conn) error) {
	r.t.Helper()
	many(r.t, n, func(int) error {
		conn, err := r.dial(protocol)
		if err != nil {
			return err
		}
		return send(conn)
	})
}

func (r raw) dial(protocol string) (*tls.Conn, error) {
	plain, err := net.DialTimeout("tcp", r.address, 30*time.Second)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { plain.Close() })
	config := r.tls.Clone()
	config.NextProtos = []string{protocol}
	conn := tls.Client(plain, config)
	return conn, conn.HandshakeContext(r.t.Context())
}

func text(format string, args ...any) func(*tls.Conn) error {
	return func(c *tls.Conn) error {
		_, err := fmt.Fprintf(c, format, args...)
		return err
	}
}

// frames begins HTTP/2 on a connection, with a client that takes at most so many bytes of a stream.
func frames(c *tls.Conn, window uint32) (*http2.Framer, error) {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	f := http2.NewFramer(c, c)
	return f, f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
}

// headersOf is the header block of a request.
func headersOf(path, token string, more ...string) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"authorization", "Bearer " + token}}
	for _, value := range more {
		fields = append(fields, [2]string{"x-more", value})
	}
	for _, f := range fields {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer takes all
	}
	return block.Bytes()
}

// open begins the n-th request of a connection.
func open(f *http2.Framer, n int, block []byte) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*n + 1), BlockFragment: block, EndStream: true, EndHeaders: true})
}

// TestDawdlersStarveNobody surrounds the server with clients of every kind that holds a connection and does not get on,
// in the same priority level as one who works: he is served all the while.
func TestDawdlersStarveNobody(t *testing.T) {
	c := openTo(t, "--max-requests-inflight=60", "--max-mutating-requests-inflight=30",
		users(t, map[string]string{"dawdler": "people", "worker": "people"}))
	fill(t, c, 200, 20_000)
	const head = "Host: x\r\nAuthorization: Bearer dawdler\r\n"
	const list = "/api/v1/namespaces/default/configmaps"
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	worker := as(t, c, "worker").CoreV1().ConfigMaps("default")
	times, slowest := steadily(ctx, t, &group, "the worker", func(ctx context.Context) error {
		if _, err := worker.List(ctx, metav1.ListOptions{}); err != nil {
			return err
		}
		_, err := worker.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}, metav1.CreateOptions{})
		return err
	})
	r := rawTo(t, c)
	for name, arrive := range map[string]func(){
		"idle connections": func() { r.many(1000, "http/1.1", func(*tls.Conn) error { return nil }) },
		"idle HTTP/2 connections": func() {
			r.many(300, "h2", func(c *tls.Conn) error { _, err := frames(c, 65535); return err })
		},
		"headers that do not end": func() { r.many(300, "http/1.1", text("GET %s HTTP/1.1\r\n"+head, list)) },
		"bodies that do not come": func() {
			r.many(300, "http/1.1", text("POST %s HTTP/1.1\r\n"+head+"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{", list))
		},
		"large bodies that do not come": func() {
			r.many(300, "http/1.1", text("POST %s HTTP/1.1\r\n"+head+"Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n{", list))
		},
		"large headers, and answers that may not be sent": func() { r.many(2, "h2", largeHeaders) },
		"answers that nobody reads":                       func() { r.many(100, "http/1.1", text("GET %s HTTP/1.1\r\n"+head+"\r\n", list)) },
		"watches that nobody reads":                       func() { r.many(100, "http/1.1", text("GET %s?watch=1 HTTP/1.1\r\n"+head+"\r\n", list)) },
		"answers that may not be sent":                    func() { r.many(5, "h2", manyStreams(list, 100)) },
		"more streams than allowed":                       func() { r.many(5, "h2", manyStreams("/version", 1000)) },
		"streams reset as they begin":                     func() { r.many(5, "h2", resets(list, 2000)) },
		"headers without end":                             func() { r.many(5, "h2", endlessHeaders(t)) },
		"no TLS at all":                                   func() { r.silent(300) },
	} {
		before := times.Load()
		arrive()
		eventually(t, "the worker to go on beside "+name, func() bool { return times.Load() >= before+3 })
		t.Logf("beside %s: slowest %v; %d MB", name, time.Duration(slowest.Swap(0)), residentMB(t, c.PID))
	}
	cancel()
	group.Wait()
	mb := residentMB(t, c.PID)
	t.Logf("the worker: %d times, slowest %v; %d MB resident", times.Load(), time.Duration(slowest.Load()), mb)
	if mb > 700 {
		t.Errorf("%d MB resident", mb)
	}
}

// silent opens TCP connections on which nothing is said.
func (r raw) silent(n int) {
	r.t.Helper()
	many(r.t, n, func(int) error {
		conn, err := net.Dial("tcp", r.address)
		if err == nil {
			r.t.Cleanup(func() { conn.Close() })
		}
		return err
	})
}

// manyStreams asks for so many answers at a time, and lets none of them be sent.
func manyStreams(path string, n int) func(*tls.Conn) error {
	return func(c *tls.Conn) error {
		f, err := frames(c, 0)
		if err != nil {
			return err
		}
		block := headersOf(path, "dawdler")
		for i := range n {
			if open(f, i, block) != nil {
				return nil // the server has had enough
			}
		}
		return nil
	}
}

// largeHeaders asks for a hundred answers with half a megabyte of headers each, and lets none of them be sent.
func largeHeaders(c *tls.Conn) error {
	f, err := frames(c, 0)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, c) // the connection is read: it is the streams that stand still
	for i := range 100 {
		block := headersOf("/version", "dawdler", strings.Repeat("x", 500_000))
		head := block[:16_000]
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: head, EndStream: true}); err != nil {
			return err
		}
		for rest := block[len(head):]; len(rest) > 0; {
			n := min(len(rest), 16_000)
			if err := f.WriteContinuation(uint32(2*i+1), n == len(rest), rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

// resets begins streams and takes each back at once.
func resets(path string, n int) func(*tls.Conn) error {
	return func(c *tls.Conn) error {
		f, err := frames(c, 65535)
		if err != nil {
			return err
		}
		block := headersOf(path, "dawdler")
		for i := range n {
			if open(f, i, block) != nil || f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel) != nil {
				return nil
			}
		}
		return nil
	}
}

// endlessHeaders sends headers that go on and on. The server has to end that.
func endlessHeaders(t *testing.T) func(*tls.Conn) error {
	return func(c *tls.Conn) error {
		f, err := frames(c, 65535)
		if err != nil {
			return err
		}
		go io.Copy(io.Discard, c) // what the server says of it
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headersOf("/version", "dawdler")}); err != nil {
			return err
		}
		var block bytes.Buffer
		hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: "x-more", Value: strings.Repeat("x", 8000)})
		c.SetWriteDeadline(time.Now().Add(30 * time.Second))
		for sent := 0; sent < 64<<20; sent += block.Len() {
			if f.WriteContinuation(1, false, block.Bytes()) != nil {
				return nil
			}
		}
		t.Error("the server has taken 64 MB of headers")
		return nil
	}
}
