package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/knarr-dev/knarr/registry"
)

func TestWhatTheClientOfAWatchSaysIsNotKept(t *testing.T) {
	s := startServer(t)
	user := registry.User{Name: "m", Groups: []string{"system:masters"}}
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.router.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, &user)))
	}))
	defer open.Close()
	socket, _, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(open.URL, "http", "ws", 1)+"/api/v1/namespaces/default/configmaps?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	message, err := socket.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	before := held()
	part := make([]byte, 64<<10)
	for range 1024 { // more than fits into any buffer between the two
		if _, err := message.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if grown := (held() - before) >> 20; grown > 32 {
		t.Errorf("of 64 MB that nobody wants %d MB are kept", grown)
	}
}

// held is how many bytes of memory are in use.
func held() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
