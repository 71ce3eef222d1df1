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

func TestShapesThatAnAnswerCannotHaveAreNotAcceptable(t *testing.T) {
	const table, metadata = mediaJSON + ";as=Table;v=v1;g=meta.k8s.io", mediaJSON + ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	for _, c := range []struct {
		accept  string
		allowed shapes
		want    bool
	}{
		{table, anyShape, true},
		{table, noTable, false},
		{table, wholeOnly, false},
		{metadata, anyShape, true},
		{metadata, noTable, true},
		{metadata, wholeOnly, false},
		{table + "," + mediaJSON, noTable, true}, // the client's second choice
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Accept", c.accept)
		if _, err := negotiate(r, c.allowed); (err == nil) != c.want {
			t.Errorf("%s of %d: %v, acceptable should be %t", c.accept, c.allowed, err, c.want)
		}
	}
}
