package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// master asks as a member of system:masters, and returns the answer's status.
func master(t *testing.T, s *Server, method, target, body string) (code int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://within"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaJSON)
	got, err := s.Transport(registry.User{Name: "m", Groups: []string{"system:masters"}}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(text)
}

func TestThroughPathsOfWatchesNothingIsWritten(t *testing.T) {
	s := startServer(t)
	const maps, one = "/api/v1/watch/namespaces/default/configmaps", "/api/v1/watch/namespaces/default/configmaps/m"
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{http.MethodPost, "/api/v1/namespaces/default/configmaps", http.StatusCreated},
		{http.MethodPost, maps, http.StatusMethodNotAllowed},
		{http.MethodPut, one, http.StatusMethodNotAllowed},
		{http.MethodDelete, one, http.StatusMethodNotAllowed},
		{http.MethodGet, "/api/v1/watch/namespaces/default/pods/p/proxy", http.StatusNotFound},
		{http.MethodPost, "/api/v1/watch/namespaces/default/pods/p/exec", http.StatusNotFound},
		{http.MethodPost, "/api/v1/watch/nosuch", http.StatusNotFound},
		{http.MethodGet, one + "?timeoutSeconds=1", http.StatusOK},
	} {
		if code, answer := master(t, s, c.method, c.target, `{"metadata":{"name":"m"}}`); code != c.want || strings.Contains(answer, "not found") {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.target, code, c.want, answer)
		}
	}
}

func TestATimeoutThatSaysNothingIsNone(t *testing.T) {
	s := startServer(t)
	for query, want := range map[string]int{"timeout=": 200, "mytimeout=5": 200, "timeout=0s": 200, "timeout=-3s": 200, "timeout=5s": 200, "timeout=5": 400} {
		if code, answer := master(t, s, http.MethodGet, "/api/v1/namespaces/default?"+query, ""); code != want {
			t.Errorf("%s: %d, want %d: %s", query, code, want, answer)
		}
	}
}

func TestADryRunIsAskedForBesideOtherOptionsToo(t *testing.T) {
	s := startServer(t)
	const maps, options = "/api/v1/namespaces/default/configmaps", `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`
	for _, c := range []struct {
		method, target, body string
		want                 int
	}{
		{http.MethodPost, maps, `{"metadata":{"name":"m"}}`, http.StatusCreated},
		{http.MethodDelete, maps + "/m?dryRun=All", options, http.StatusOK},
		{http.MethodDelete, maps + "/m?dryRun=Some", options, http.StatusUnprocessableEntity},
		{http.MethodGet, maps + "/m", "", http.StatusOK},
		{http.MethodDelete, maps + "/m", options, http.StatusOK},
		{http.MethodGet, maps + "/m", "", http.StatusNotFound},
	} {
		if code, answer := master(t, s, c.method, c.target, c.body); code != c.want {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.target, code, c.want, answer)
		}
	}
}
