package server

import (
	"net/http"
	"slices"
	"sync/atomic"
)

// inflight bounds the requests that are served at a time, reading and writing ones apart, so that a flood of one kind
// leaves room for the other. Streams are not counted, and members of system:masters are never refused: somebody has to
// be able to look.
type inflight struct {
	reading, writing atomic.Int64
}

// limitInFlight tells clients to come again when the server is busy: all that there is without priority and fairness.
func (s *Server) limitInFlight(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := askedOf(r)
		running, limit := &s.inflight.reading, s.config.MaxInFlight
		if !slices.Contains([]string{"get", "list", "watch", "head", "options"}, a.request.Verb) {
			running, limit = &s.inflight.writing, s.config.MaxMutating
		}
		if a.request.isStream() || limit == 0 {
			next.ServeHTTP(w, r)
			return
		}
		defer running.Add(-1)
		if running.Add(1) > int64(limit) && !slices.Contains(a.about.User.Groups, "system:masters") {
			tooManyRequests(w, 1)
			return
		}
		next.ServeHTTP(w, r)
	})
}
