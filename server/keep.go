package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/knarr-dev/knarr/registry"
)

// keep makes the objects that the API server itself is responsible for, and keeps them until ctx ends. The server is
// ready when they are there.
func (s *Server) keep(ctx context.Context) {
	said := ""
	for {
		err := s.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != said { // it is tried again every second: one word will do until there is another
			s.log.Error("the objects that every cluster has cannot be made yet", "err", err)
			said = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	s.health.kept.Store(true)
	var loops sync.WaitGroup
	loops.Go(func() { s.registry.KeepNetwork(ctx) })
	loops.Go(func() { s.registry.KeepFlowControl(ctx) })
	loops.Go(func() { s.registry.KeepIdentity(ctx) })
	loops.Go(func() { s.registry.KeepDefinitions(ctx) })
	loops.Go(func() { s.keepTrust(ctx) })
	loops.Wait()
}

// keepTrust publishes authorities again when they have been renewed, or taken out by somebody.
func (s *Server) keepTrust(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.registry.EnsureTrust(ctx, s.security.trust()); err != nil {
				s.log.Warn("publish the authorities", "err", err)
			}
		}
	}
}

// prepare makes all at once: none needs what another makes.
func (s *Server) prepare(ctx context.Context) error {
	steps := []func(context.Context) error{
		s.registry.PrepareNetwork, s.registry.EnsurePriorityClasses, s.registry.PrepareFlowControl, s.registry.EnsureAPIServices,
		s.registry.EnsureRBACPolicy,
		func(ctx context.Context) error { return s.registry.EnsureTrust(ctx, s.security.trust()) },
	}
	errs := make([]error, len(steps))
	var running sync.WaitGroup
	for i, step := range steps {
		running.Go(func() { errs[i] = step(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// manageOwn attributes the fields of the server's own writes.
func (s *Server) manageOwn(w *registry.Write, obj, old registry.Object, manager string) (registry.Object, error) {
	return s.ownCall(w, manager).manage(old, obj)
}

// applyOwn merges a configuration of the server's own into an object.
func (s *Server) applyOwn(w *registry.Write, live registry.Object, config map[string]any, manager string) (registry.Object, error) {
	m, err := s.managers.of(s.ownCall(w, manager))
	if err != nil {
		return nil, err
	}
	out, err := m.Apply(live, &unstructured.Unstructured{Object: config}, manager, true)
	if err != nil {
		return nil, err
	}
	return out.(registry.Object), nil
}

// ownCall is what field managers have to know of a write that no client asked for.
func (s *Server) ownCall(w *registry.Write, manager string) *call {
	r := &Request{row: w.Resource, version: w.Resource.Hub(), Subresource: w.Subresource, sub: w.Resource.Subresource(w.Subresource)}
	return &call{Request: r, s: s, r: &http.Request{Header: http.Header{}}, fieldManager: manager}
}
