package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/knarr-dev/knarr/registry"
)

func TestWhatThereIsNotMakesMetricsNoBigger(t *testing.T) {
	s := startServer(t)
	client := s.Transport(registry.User{Name: "nosy"})
	for i := range 50 {
		for _, path := range []string{"/apis/group%d/v1/things", "/api/v1/pods%d", "/api/v1/namespaces/default/pods/p/sub%d"} {
			r, _ := http.NewRequestWithContext(t.Context(), fmt.Sprintf("M%d", i), "http://within"+fmt.Sprintf(path, i), nil)
			answer, err := client.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
		}
	}
	n := 0
	s.metrics.known.Range(func(any, any) bool { n++; return true })
	if n > 60 {
		t.Errorf("%d series", n)
	}
}

func TestARequestAtWhichTheServerPanicsIsCounted(t *testing.T) {
	s := startServer(t)
	r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces", nil)
	a := &asked{request: parseRequest(r), received: time.Now()}
	func() {
		defer func() { _ = recover() }()
		s.metrics.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") }), httptest.NewRecorder(), r, a)
	}()
	var out dto.Metric
	if err := s.metrics.seriesOf(a.request, r).answered(http.StatusInternalServerError).Write(&out); err != nil || out.GetCounter().GetValue() != 1 {
		t.Errorf("%v, %v", out.GetCounter(), err)
	}
}
