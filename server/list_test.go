package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// gone is a client that has left: nothing can be written to it.
type gone struct {
	header http.Header
	codes  []int
}

func (g *gone) Header() http.Header       { return g.header }
func (g *gone) WriteHeader(code int)      { g.codes = append(g.codes, code) }
func (g *gone) Write([]byte) (int, error) { return 0, errors.New("the client has gone") }

func TestAListThatNobodyTakesIsAnsweredOnce(t *testing.T) {
	s := startServer(t)
	user := registry.User{Name: "m", Groups: []string{"system:masters"}}
	for _, accept := range []string{mediaJSON, mediaProtobuf, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
		w, r := &gone{header: http.Header{}}, httptest.NewRequestWithContext(context.WithValue(t.Context(), userKey{}, &user), http.MethodGet, "/api/v1/namespaces", nil)
		r.Header.Set("Accept", accept)
		s.router.ServeHTTP(w, r)
		if !slices.Equal(w.codes, []int{http.StatusOK}) {
			t.Errorf("%s: answered with %v", accept, w.codes)
		}
	}
}
