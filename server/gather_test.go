package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// gatheredPair is a gathered connection and its other end.
func gatheredPair(t *testing.T) (*gathered, net.Conn) {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newGather(plain)
	t.Cleanup(func() { l.Close() })
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.(*gathered), client
}

func TestWhatWasWrittenArrivesInOrderThoughTheConnectionIsClosed(t *testing.T) {
	server, client := gatheredPair(t)
	var want []byte
	for i := range 3000 { // more than the kernel's buffers hold
		part := bytes.Repeat([]byte{byte(i)}, 4000)
		want = append(want, part...)
	}
	go func() {
		for rest := want; len(rest) > 0; rest = rest[4000:] {
			server.Write(rest[:4000])
		}
		server.SetWriteDeadline(time.Now()) // as TLS does after its farewell
		server.Close()
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes arrive: %v", len(got), len(want), err)
	}
}

func TestAWriterWaitsForAClientThatDoesNotRead(t *testing.T) {
	server, client := gatheredPair(t)
	blocked := make(chan int)
	go func() {
		taken := 0
		for range 1000 {
			n, err := server.Write(make([]byte, 64<<10))
			if taken += n; err != nil {
				break
			}
		}
		blocked <- taken
	}()
	select {
	case n := <-blocked:
		t.Fatalf("%d bytes were taken though nobody reads", n)
	case <-time.After(200 * time.Millisecond):
	}
	client.Close()
	<-blocked // the error ends the writing
	if _, err := server.Write([]byte("x")); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("after the client has left, a write answers %v", err)
	}
}

func TestWhoReadsWhileTheConnectionIsBeingClosedIsToldThatItIsClosed(t *testing.T) {
	server, _ := gatheredPair(t)
	server.mu.Lock()
	server.writing = true // as while bytes are still to be sent
	server.mu.Unlock()
	read := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		read <- err
	}()
	server.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the read ends with %v", err)
	}
}
