package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/registry"
)

// startServer runs a server on a free port until the test ends.
func startServer(t *testing.T, changes ...func(*Config)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.DataDir, config.BindAddress, config.SecurePort = t.TempDir(), net.IPv4(127, 0, 0, 1), l.Addr().(*net.TCPAddr).Port
	l.Close()
	for _, change := range changes {
		change(&config)
	}
	s, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	return s
}

func clientWithin(t *testing.T, s *Server, user registry.User) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: "http://within", Transport: s.Transport(user), QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: mediaProtobuf}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPartsOfTheProcessAreClientsLikeOthers(t *testing.T) {
	s := startServer(t)
	master := clientWithin(t, s, registry.User{Name: "part", Groups: []string{"system:masters"}})
	maps := master.CoreV1().ConfigMaps("default")
	ctx, cancel := context.WithCancel(t.Context())
	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}, Data: map[string]string{"x": strings.Repeat("y", 10_000)}}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for seen := 0; seen < 100; {
		select {
		case e := <-w.ResultChan():
			if m, ok := e.Object.(*corev1.ConfigMap); ok && strings.HasPrefix(m.Name, "m") {
				seen++
			}
		case <-time.After(time.Minute):
			t.Fatalf("of 100 events %d come", seen)
		}
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{}) // a megabyte, more than waits in the pipe
	if err != nil || len(list.Items) < 100 {
		t.Errorf("%d listed: %v", len(list.Items), err)
	}
	cancel()
	for range w.ResultChan() { // it is closed
	}
}

func TestWithinTheProcessTheIdentityDecides(t *testing.T) {
	s := startServer(t)
	nobody := s.Transport(registry.User{Name: "nobody"})
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://within/api/v1/secrets", nil)
	r.Header.Set("X-Remote-User", "admin")
	r.Header.Set("X-Remote-Group", "system:masters")
	answer, err := nobody.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusForbidden || !strings.Contains(string(body), `User \"nobody\" cannot list`) {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

func TestAnAnswerThatIsNotReadStopsItsHandler(t *testing.T) {
	stopped := make(chan error, 1)
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				stopped <- err
				return
			}
		}
	})
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://within/", nil)
	answer, err := inProcess{handler: endless}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if err := <-stopped; err == nil {
		t.Error("the handler was not told")
	}
}

func TestAClientThatLeavesBeforeTheAnswerStopsItsHandler(t *testing.T) {
	left, stopped := make(chan struct{}), make(chan error, 1)
	late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-left
		for err := error(nil); ; {
			if _, err = w.Write(make([]byte, 64<<10)); err != nil {
				stopped <- err
				return
			}
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://within/", nil)
	if _, err := (inProcess{handler: late}).RoundTrip(r); err == nil {
		t.Fatal("there is an answer for somebody who has left")
	}
	close(left)
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Error("the handler waits for a reader who will not come")
	}
}

func TestAHandlerThatBreaksOffIsAnError(t *testing.T) {
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://within/", nil)
	answer, err := inProcess{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(answer.Body); string(got) != "half" || err == nil {
		t.Errorf("%q, %v", got, err)
	}
}
