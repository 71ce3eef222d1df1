package server

import (
	"context"
	"net/http"

	"github.com/knarr-dev/knarr/registry"
)

// keep makes the objects that the API server itself is responsible for, and keeps them until ctx ends.
func (s *Server) keep(ctx context.Context) {
	s.health.kept.Store(true)
	<-ctx.Done()
}

// manageOwn attributes the fields of the server's own writes.
func (s *Server) manageOwn(w *registry.Write, obj, old registry.Object, manager string) (registry.Object, error) {
	hub := w.Resource.Hub()
	r := &http.Request{Header: http.Header{}}
	c := &call{Request: &Request{row: w.Resource, version: hub, Subresource: w.Subresource, sub: w.Resource.Subresource(w.Subresource)},
		s: s, r: r, fieldManager: manager}
	return c.manage(old, obj)
}
