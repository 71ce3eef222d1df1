package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestJSONIsIndentedForThoseWhoWantIt(t *testing.T) {
	for _, c := range []struct {
		query, accept, agent string
		want                 bool
	}{
		{"", "", "curl/8", true},
		{"", mediaJSON, "kubectl", false},
		{"pretty=1", mediaJSON, "kubectl", true},
		{"pretty=false", "", "curl/8", false},
		{"pretty=", "", "curl/8", true},
		{"pretty=nonsense", "", "curl/8", false},
		{"", mediaJSON + ";pretty=1", "kubectl", true},
		{"", mediaJSON + ";pretty=true", "kubectl", false},
		{"pretty=0", mediaJSON + ";pretty=1", "kubectl", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/pods?"+c.query, nil)
		r.Header.Set("Accept", c.accept)
		r.Header.Set("User-Agent", c.agent)
		if form, err := negotiate(r, anyShape); err != nil || form.Pretty != c.want {
			t.Errorf("%q, Accept %q, %s: %t, want %t (%v)", c.query, c.accept, c.agent, form.Pretty, c.want, err)
		}
	}
}
