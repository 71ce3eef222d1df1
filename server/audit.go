package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server/audit"
)

// What the audit log is told, and where: the station below tells the request and its end; impersonate, as whom it
// acts; authorize, the decision; noteSent, the object in its body; writeObject, an answer that is a Status; all else that has
// something to say annotates. None of it costs anything without a policy.

// openAudit opens the audit log, if there is to be one.
func (s *Server) openAudit() (err error) {
	if s.audit, err = audit.Open(s.config.Audit, s.log); err == nil && s.audit != nil {
		s.metrics.register(s.audit.Collectors()...)
	}
	return err
}

// auditPatience is how long events that wait may take to be sent when the server ends.
const auditPatience = 30 * time.Second

func (s *Server) closeAudit() {
	if s.audit != nil {
		ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
		defer cancel()
		s.audit.Close(ctx)
	}
}

// recordAudit records the requests that the policy selects.
func (s *Server) recordAudit(next http.Handler) http.Handler {
	if s.audit == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := s.beginAudit(w, r)
		if record == nil {
			next.ServeHTTP(w, r)
			return
		}
		a := askedOf(r)
		a.record = record
		if record.Receive() != nil {
			http.Error(w, fmt.Sprintf("Internal Server Error: %q: failed to store audit event", r.RequestURI), http.StatusInternalServerError)
			return
		}
		out := record.Writer(w, a.request.isStream(), a.request.isOfAPI())
		defer func() {
			if what := recover(); what != nil {
				record.Panicked(what)
				panic(what)
			}
			record.Complete(out, a.took)
		}()
		next.ServeHTTP(out, r)
	})
}

// auditRefusal returns the writer for the answer to a request that is refused before it is known who sends it. Its
// answer is all there is to record.
func (s *Server) auditRefusal(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if s.audit == nil {
		return w
	}
	record := s.beginAudit(w, r)
	if record == nil {
		return w
	}
	askedOf(r).record = record
	return record.Writer(w, true, false)
}

func (s *Server) beginAudit(w http.ResponseWriter, r *http.Request) *audit.Record {
	a := askedOf(r)
	record := s.audit.Begin(r, a.received, &a.about)
	if record != nil {
		record.Identify(w.Header().Get("Audit-Id"), a.annotations)
	}
	return record
}

// isOfAPI reports whether the answer is an object: of a resource, or of discovery.
func (q *Request) isOfAPI() bool {
	return q.IsResource || q.Path == "/api" || q.Path == "/apis" || strings.HasPrefix(q.Path, "/api/") || strings.HasPrefix(q.Path, "/apis/")
}

// lasted tells how long a part of the serving has taken, since start.
func (a *asked) lasted(part string, start time.Time) {
	if a.took != nil {
		a.took[part] += time.Since(start)
	}
}

// noteSent tells the audit log what the body holds: the object with its defaults, in the version in which it came.
func (c *call) noteSent(o registry.Object) {
	if record := askedOf(c.r).record; record != nil {
		record.Sent(o, func() ([]byte, error) { return marshalJSON(o) })
	}
}

// noteHub is noteSent of an object that has been brought to the hub version.
func (c *call) noteHub(o registry.Object) {
	if askedOf(c.r).record != nil {
		c.noteSent(c.fromHub(o))
	}
}

// noteOptions tells the audit log of the options in the body of a DELETE.
func (c *call) noteOptions(o *metav1.DeleteOptions) {
	askedOf(c.r).record.Sent(nil, func() ([]byte, error) { return marshalJSON(o) })
}

// notePatch tells the audit log of a patch.
func (c *call) notePatch(body []byte) {
	askedOf(c.r).record.Sent(nil, func() ([]byte, error) {
		if json.Valid(body) {
			return body, nil
		}
		if patch, err := yaml.YAMLToJSON(body); err == nil {
			return patch, nil
		}
		return json.Marshal(string(body)) // neither: it will be refused
	})
}

// noteStatus tells the audit log of an answer that is a Status.
func noteStatus(r *http.Request, v any) {
	if s, ok := v.(*metav1.Status); ok {
		if a, ok := r.Context().Value(requestKey{}).(*asked); ok {
			a.record.Answered(s)
		}
	}
}
