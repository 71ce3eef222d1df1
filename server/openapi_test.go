package server

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestOpenAPIIndexLeadsToDocumentsThatMayBeKept(t *testing.T) {
	o := newOpenAPI()
	index := decode[struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}](t, ask(t, o, "GET", "/openapi/v3", ""))
	for path, entry := range index.Paths {
		w := ask(t, o, "GET", entry.ServerRelativeURL, "")
		doc := decode[struct{ Openapi string }](t, w)
		if w.Code != http.StatusOK || doc.Openapi != "3.0.0" || w.Header().Get("Cache-Control") != "public, immutable" {
			t.Errorf("%s: %d %v %q", path, w.Code, w.Header(), doc.Openapi)
		}
	}
	if len(index.Paths) < 47 {
		t.Errorf("%d documents, want those of all groups", len(index.Paths))
	}
}

func TestOpenAPIStaleHashIsRedirected(t *testing.T) {
	w := ask(t, newOpenAPI(), "GET", "/openapi/v3/apis/apps/v1?hash=AB", "")
	if at := w.Header().Get("Location"); w.Code != http.StatusMovedPermanently || !strings.HasPrefix(at, "/openapi/v3/apis/apps/v1?hash=") {
		t.Errorf("%d to %q", w.Code, at)
	}
}

func TestOpenAPIIsSentCompressedAsItIsKept(t *testing.T) {
	w := ask(t, newOpenAPI(), "GET", "/openapi/v2", "application/json", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(w.Body)
	if err != nil || w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", w.Header(), err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !json.Valid(text) {
		t.Errorf("%d bytes: %v", len(text), err)
	}
}

func TestOpenAPINegotiation(t *testing.T) {
	o := newOpenAPI()
	etag := ask(t, o, "GET", "/openapi/v2", "").Header().Get("ETag")
	for _, c := range []struct {
		rule, path, accept, ifNoneMatch string
		code                            int
		contentType                     string
	}{
		{"protobuf by its old name", "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "", 200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"},
		{"protobuf by its new name", "/openapi/v3/version", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "", 200, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"},
		{"nothing else", "/openapi/v2", "text/html", "", 406, ""},
		{"an unchanged document is not sent again", "/openapi/v2", "", etag, 304, ""},
		{"unknown group", "/openapi/v3/apis/nobody", "", "", 404, ""},
		{"hidden folders are embedded", "/openapi/v3/.well-known/openid-configuration", "", "", 200, "application/json"},
	} {
		w := ask(t, o, "GET", c.path, c.accept, "If-None-Match", c.ifNoneMatch)
		if w.Code != c.code || w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s: %d %q", c.rule, w.Code, w.Header().Get("Content-Type"))
		}
	}
}
