package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/admission"
	"github.com/knarr-dev/knarr/registry"
)

const crowd = "/api/v1/namespaces/default/configmaps"

// crowded is a server with many ConfigMaps, m00 and so on, whose removal a plugin has a say in.
func crowded(t *testing.T, many int, say func(context.Context, *admission.Attributes) error) *Server {
	t.Helper()
	config := DefaultConfig()
	config.DataDir = t.TempDir()
	s, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.storage.close)
	s.admission = append(slices.Clone(s.admission), admission.Plugin{Name: "Say", Operations: []admission.Operation{admission.Delete}, Validate: say})
	row := s.registry.Resource("", "configmaps")
	for i := range many {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("m%02d", i)}}
		if _, err := s.registry.Create(t.Context(), row, m); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// left are the names of the ConfigMaps that are there.
func left(t *testing.T, s *Server) (names []string) {
	t.Helper()
	list, err := clientWithin(t, s, registry.User{Name: "m", Groups: []string{"system:masters"}}).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Items {
		names = append(names, m.Name)
	}
	return names
}

func TestOfSeveralErrorsTheFirstInTheListIsTold(t *testing.T) {
	later := make(chan struct{})
	s := crowded(t, 40, func(_ context.Context, a *admission.Attributes) error {
		switch a.Old.GetName() {
		case "m03": // it takes longer than the one behind it
			<-later
			return errors.New("m03 stays")
		case "m09":
			defer close(later)
			return errors.New("m09 stays")
		}
		return nil
	})
	code, answer := master(t, s, http.MethodDelete, crowd, "")
	if code != http.StatusInternalServerError || !strings.Contains(answer, "m03 stays") || strings.Contains(answer, "m09") {
		t.Errorf("%d %s", code, answer)
	}
	there := left(t, s)
	for _, name := range []string{"m03", "m09"} {
		if !slices.Contains(there, name) {
			t.Errorf("%s was removed against the plugin's word", name)
		}
	}
}

func TestAfterRemoversFailNoMoreAreBegun(t *testing.T) {
	var begun atomic.Int64
	all := make(chan struct{})
	s := crowded(t, 60, func(_ context.Context, a *admission.Attributes) error {
		if begun.Add(1) == removers {
			close(all)
		}
		<-all
		return errors.New(a.Old.GetName() + " stays")
	})
	if code, answer := master(t, s, http.MethodDelete, crowd, ""); code != http.StatusInternalServerError || !strings.Contains(answer, "m00 stays") {
		t.Errorf("%d %s", code, answer)
	}
	if n := len(left(t, s)); begun.Load() != removers || n != 60 {
		t.Errorf("%d removals were begun, %d objects are left of 60", begun.Load(), n)
	}
}

func TestARemoverThatBreaksIsAnError(t *testing.T) {
	var once sync.Once
	s := crowded(t, 40, func(context.Context, *admission.Attributes) error {
		once.Do(func() { panic("something is wrong with the plugin") })
		return nil
	})
	if code, answer := master(t, s, http.MethodDelete, crowd, ""); code != http.StatusInternalServerError {
		t.Errorf("%d %s", code, answer)
	}
	if code, answer := master(t, s, http.MethodDelete, crowd, ""); code != http.StatusOK || len(left(t, s)) > 0 {
		t.Errorf("the server does not go on: %d %s", code, answer)
	}
}

// TestAClientThatLeavesStopsItsRemovers: what was begun is seen through or given up, and nothing else is begun.
func TestAClientThatLeavesStopsItsRemovers(t *testing.T) {
	var begun atomic.Int64
	all := make(chan struct{})
	var given sync.WaitGroup
	given.Add(removers)
	s := crowded(t, 60, func(ctx context.Context, _ *admission.Attributes) error {
		if begun.Add(1) == removers {
			close(all)
		}
		defer given.Done()
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://within"+crowd, nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := s.Transport(registry.User{Name: "m", Groups: []string{"system:masters"}}).RoundTrip(r)
		answered <- err
	}()
	select {
	case <-all:
	case <-time.After(time.Minute):
		t.Fatalf("%d objects are removed at a time, not %d", begun.Load(), removers)
	}
	leave()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("somebody who has left is told %v", err)
	}
	given.Wait()
	if n := len(left(t, s)); n != 60 || begun.Load() != removers {
		t.Errorf("%d of 60 objects are left, %d removals were begun", n, begun.Load())
	}
}
