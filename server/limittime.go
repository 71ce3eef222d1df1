package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// isStream tells requests that last as long as the client likes.
func (q *Request) isStream() bool {
	if !q.IsResource {
		return strings.HasPrefix(q.Path, "/debug/pprof")
	}
	switch q.Subresource {
	case "attach", "exec", "log", "portforward", "proxy":
		return true
	}
	return q.Verb == "watch"
}

// answerPatience is how long after the time for a request its client may still take the answer.
const answerPatience = 10 * time.Second

func (s *Server) limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if askedOf(r).request.isStream() {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // what has none needs none taken away
			next.ServeHTTP(w, r)
			return
		}
		limit := s.config.RequestTimeout
		if strings.Contains(r.URL.RawQuery, "timeout=") {
			asked, err := timeoutOf(r)
			if err != nil {
				writeError(s.auditRefusal(w, r), r, err)
				return
			}
			if asked > 0 {
				limit = min(limit, asked)
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		if r.ContentLength != 0 {
			// A body that never comes ends with the request. Connections that cannot be told so have no bodies to wait for.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// timeoutOf is the time that the client gives its request; 0 if it says nothing, or does not care.
func timeoutOf(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("timeout")
	if text == "" {
		return 0, nil
	}
	asked, err := time.ParseDuration(text)
	if err != nil {
		return 0, badRequest("invalid timeout specified in the request URL - %v", err)
	}
	return asked, nil
}

// timeIsOver reports whether a request that is no stream has had its time.
func timeIsOver(r *http.Request) bool {
	deadline, ok := r.Context().Deadline()
	return ok && !time.Now().Before(deadline)
}

// writeTimeout is the answer to a request that could not be done in its time, whatever else went wrong. It is JSON, and
// upstream calls it text; what other stations have said of the request is taken back.
func writeTimeout(w http.ResponseWriter) {
	h := w.Header()
	for name := range h {
		if name != "Audit-Id" && name != "Cache-Control" {
			delete(h, name)
		}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusGatewayTimeout)
	timeout := apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
	_ = json.NewEncoder(w).Encode(timeout.ErrStatus) // who has gone needs no answer
}
