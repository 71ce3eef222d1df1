package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAnswersThatNobodyReadsEnd asks for an answer that is larger than all buffers and reads none of it.
func TestAnswersThatNobodyReadsEnd(t *testing.T) {
	identity := httptest.NewUnstartedServer(nil)
	identity.StartTLS()
	defer identity.Close()
	for protocol, request := range map[string]func(*tls.Conn) error{
		"http/1.1": func(c *tls.Conn) error {
			_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			return err
		},
		"h2": func(c *tls.Conn) error { // who reads the connection, but lets the stream have no bytes
			if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
				return err
			}
			go io.Copy(io.Discard, c)
			f := http2.NewFramer(c, nil)
			if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
				return err
			}
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock(), EndStream: true, EndHeaders: true})
		},
	} {
		t.Run(protocol, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 1000 {
					if _, err := w.Write(make([]byte, 128<<10)); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			config := identity.TLS.Clone()
			config.NextProtos = []string{"h2", "http/1.1"}
			go serve(ctx, l, config, h, func() {}, 100*time.Millisecond, time.Millisecond, slog.New(slog.DiscardHandler))
			c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := request(c); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the answer was written to nobody")
				}
			case <-time.After(time.Minute):
				t.Error("the answer is still being written")
			}
		})
	}
}

// requestBlock is the headers of a GET.
func requestBlock() []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/"}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer takes all
	}
	return block.Bytes()
}
