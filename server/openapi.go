package server

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munnerz/goautoneg"
)

// The documents of all built-in resources, compressed, as test/openapi writes them.
//
//go:generate ../test/openapi/generate.sh
//go:embed all:openapi
var openAPIFiles embed.FS

// openAPI hands out the OpenAPI documents: /openapi/v2, one for everything, and /openapi/v3, an index of one document
// for each path of discovery. They are compressed files: a client that takes gzip gets their bytes as they are, for
// others they are expanded on the way. Nothing is read before the first request.
type openAPI struct {
	since    time.Time // the documents' Last-Modified
	version2 func() openAPIDocument
	version3 func() map[string]openAPIDocument // by path: "api/v1", "apis/apps/v1"
}

// openAPIDocument is one document in its two encodings.
type openAPIDocument struct {
	hash string // of the JSON: the ETag of both encodings
	// open returns the compressed JSON (".json.gz") or protobuf (".pb.gz").
	open func(suffix string) (io.ReadSeeker, error)
}

// newOpenAPI returns the documents of the built-in resources.
func newOpenAPI() *openAPI {
	hashes := sync.OnceValue(openAPIHashes)
	return &openAPI{
		since:    time.Now(),
		version2: func() openAPIDocument { return embeddedDocument("v2", hashes()["v2"]) },
		version3: sync.OnceValue(func() map[string]openAPIDocument {
			docs := map[string]openAPIDocument{}
			for path, hash := range hashes() {
				if path != "v2" {
					docs[path] = embeddedDocument("v3/"+path, hash)
				}
			}
			return docs
		}),
	}
}

// openAPIHashes reads the embedded documents' hashes by path; that of version 2 stands under "v2".
func openAPIHashes() map[string]string {
	text, err := openAPIFiles.ReadFile("openapi/hashes.json")
	hashes := map[string]string{}
	if err == nil {
		err = json.Unmarshal(text, &hashes)
	}
	if err != nil {
		panic("embedded OpenAPI documents: " + err.Error())
	}
	return hashes
}

func embeddedDocument(path, hash string) openAPIDocument {
	return openAPIDocument{hash: hash, open: func(suffix string) (io.ReadSeeker, error) {
		f, err := openAPIFiles.Open("openapi/" + path + suffix)
		if err != nil {
			return nil, err
		}
		return f.(io.ReadSeeker), nil // embedded files are read in place
	}}
}

// ServeHTTP answers /openapi/v2, /openapi/v3 and all below.
func (o *openAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/openapi/")
	switch {
	case path == "v2":
		w.Header().Add("Vary", "Accept-Encoding")
		o.serve(w, r, o.version2(), "v2")
	case path == "v3":
		o.serveIndex(w, r)
	case strings.HasPrefix(path, "v3/"):
		o.servePath(w, r, strings.TrimPrefix(path, "v3/"))
	default:
		http.NotFound(w, r)
	}
}

// serveIndex lists the documents of version 3 by URLs that name a state for ever: they end in the document's hash.
func (o *openAPI) serveIndex(w http.ResponseWriter, r *http.Request) {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for path, doc := range o.version3() {
		paths[path] = entry{openAPIURL(path, doc.hash)}
	}
	text, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8") // as kube-aggregator has it
	http.ServeContent(w, r, "", o.since, bytes.NewReader(text))
}

func openAPIURL(path, hash string) string {
	u := url.URL{Path: "/openapi/v3/" + path, RawQuery: url.Values{"hash": {hash}}.Encode()}
	return u.String()
}

// servePath serves one document of version 3. A request that names another hash is sent on to the present one;
// the answer to one that names this may be kept for ever.
func (o *openAPI) servePath(w http.ResponseWriter, r *http.Request, path string) {
	doc, ok := o.version3()[path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch hash := r.URL.Query().Get("hash"); hash {
	case "":
	case doc.hash:
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	default:
		w.Header().Set("Vary", "Accept")
		w.Header().Set("ETag", strconv.Quote(doc.hash))
		http.Redirect(w, r, openAPIURL(path, doc.hash), http.StatusMovedPermanently)
		return
	}
	o.serve(w, r, doc, "v3")
}

// serve writes a document in the encoding that the client prefers; version is "v2" or "v3".
func (o *openAPI) serve(w http.ResponseWriter, r *http.Request, doc openAPIDocument, version string) {
	w.Header().Add("Vary", "Accept")
	suffix, contentType := openAPIEncoding(r, version)
	if suffix == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	content, err := doc.open(suffix)
	if err == nil && takesGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
	} else if err == nil {
		content, err = expand(content)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("ETag", strconv.Quote(doc.hash))
	http.ServeContent(w, r, "", o.since, content)
}

// openAPIEncoding chooses between JSON and protobuf, which goes by an old and a new name; "" if the client takes neither.
func openAPIEncoding(r *http.Request, version string) (suffix, contentType string) {
	accept := r.Header.Get("Accept")
	if accept == "" {
		accept = "*/*"
	}
	protobuf := "com.github.proto-openapi.spec." + version
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Type != "application" && clause.Type != "*" {
			continue
		}
		switch clause.SubType {
		case "json", "*":
			return ".json.gz", "application/json"
		case protobuf + ".v1.0+protobuf", protobuf + "@v1.0+protobuf":
			return ".pb.gz", "application/" + protobuf + ".v1.0+protobuf"
		}
	}
	return "", ""
}

func takesGzip(r *http.Request) bool {
	for clause := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(strings.ReplaceAll(clause, " ", ""), ";")
		if name == "gzip" && quality != "q=0" {
			return true
		}
	}
	return false
}

func expand(compressed io.Reader) (io.ReadSeeker, error) {
	z, err := gzip.NewReader(compressed)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(z)
	return bytes.NewReader(text), err
}
