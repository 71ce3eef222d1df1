package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// index lists the paths that are served, for people who ask for "/".
func (s *Server) index(fixed chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		paths := slices.Concat(s.health.paths(), s.discovery.paths(), []string{"/openapi/v2", "/openapi/v3"})
		for _, route := range fixed.Routes() {
			if path := strings.TrimSuffix(route.Pattern, "/*"); path != "/" && path != "/openapi" {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		body, err := json.MarshalIndent(metav1.RootPaths{Paths: slices.Compact(paths)}, "", "  ")
		if err != nil {
			writeError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", mediaJSON)
		w.Write(body)
	}
}

// paths are those of all documents.
func (d *discovery) paths() []string {
	docs := d.documents()
	paths := []string{"/api", "/apis", "/apis/"}
	for name := range docs.group {
		paths = append(paths, "/apis/"+name)
	}
	for gv := range docs.resources {
		if gv.Group == "" {
			paths = append(paths, "/api/"+gv.Version)
		} else {
			paths = append(paths, "/apis/"+gv.String())
		}
	}
	return paths
}

// paths are those of all checks.
func (h *health) paths() (paths []string) {
	for _, c := range h.Checks {
		for _, point := range c.Of {
			paths = append(paths, point+"/"+c.Name)
		}
	}
	return paths
}
