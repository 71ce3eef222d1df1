package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// read GETs a path of a server as somebody who may do everything.
func read(t *testing.T, s *Server, path string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://within"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Transport(registry.User{Name: "master", Groups: []string{"system:masters"}}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(all)
}

func TestWhatIsTurnedOffIsHiddenThoughTheServerUsesIt(t *testing.T) {
	s := startServer(t, func(c *Config) { c.RuntimeConfig = map[string]string{"api/all": "false", "v1": "true"} })
	for path, want := range map[string]int{
		"/api/v1/namespaces/default": http.StatusOK, "/apis/apps/v1/deployments": http.StatusNotFound,
		"/apis/rbac.authorization.k8s.io/v1/clusterroles": http.StatusNotFound, "/readyz": http.StatusOK,
	} {
		if code, body := read(t, s, path); code != want {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
}

func TestTheRootListsWhatIsServed(t *testing.T) {
	_, body := read(t, startServer(t), "/")
	for _, path := range []string{"/api/v1", "/apis/apps/v1", "/apis/batch", "/healthz/ping", "/readyz/shutdown", "/metrics", "/openapi/v3", "/version", "/.well-known/openid-configuration"} {
		if !strings.Contains(body, `"`+path+`"`) {
			t.Errorf("%s is missing in %s", path, body)
		}
	}
}
