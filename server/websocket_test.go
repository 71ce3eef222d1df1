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
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	part := make([]byte, 64<<10)
	for range 1024 { // more than fits into any buffer between the two
		if _, err := message.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 56 {
		t.Errorf("64 MB that nobody wants took %d MB of memory", grown)
	}
}
