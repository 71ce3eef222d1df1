package server

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server/audit"
)

// pipeline is what every request passes, outermost first. The order is upstream's and can be observed: a panic is an
// answer, a request without a valid credential does not learn what exists, and only one that may do a thing learns
// that it cannot be done.
func (s *Server) pipeline(r chi.Router) {
	r.Use(
		s.identify,     // an Audit-ID on every answer, and no caching of any
		s.recover,      // a panic in a handler is a 500, and logged with its stack
		s.parse,        // what method and path mean; later stations decide on that
		s.measure,      // counted and timed from here on
		s.limitTime,    // requests that are no streams end in time
		s.authenticate, // who is asking: 401
		s.recordAudit,  // what the audit policy selects is told to the audit log from here on
		s.impersonate,  // as whom they want to act, if they may: 403
		s.limitLoad,    // is there room: 429
		s.authorize,    // may they: 403
	)
}

// requestKey finds the Request and the user in a request's context.
type requestKey struct{}

// asked is what the pipeline has found out of a request.
type asked struct {
	request  *Request
	about    registry.Attributes // the request as authorizers see it, with the user on whose behalf it is served, once known
	received time.Time
	seat     seat

	// Of the audit log, where there is one; written by the request's own goroutine.
	record      *audit.Record // nil if the request is not recorded
	annotations map[string]string
	took        map[string]time.Duration // by parts of the serving
}

// annotate adds to the audit event what a station or an admission plugin has to say. The first value of a key stays.
func (a *asked) annotate(key, value string) {
	if a.annotations == nil {
		return // nobody asks
	}
	if _, said := a.annotations[key]; !said {
		a.annotations[key] = value
	}
}

func askedOf(r *http.Request) *asked { return r.Context().Value(requestKey{}).(*asked) }

func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Audit-ID")
		if id == "" {
			id = uuid.NewString()
		}
		h := w.Header()
		h["Audit-Id"] = []string{id}
		h["Cache-Control"] = []string{"no-cache, private"}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			what := recover()
			switch {
			case what == nil:
			case what == http.ErrAbortHandler:
				panic(what) // the way to end a connection
			default:
				s.log.Error("panic while serving", "method", r.Method, "path", r.URL.Path, "panic", what, "stack", string(debug.Stack()))
				http.Error(w, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) parse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &asked{request: parseRequest(r), received: time.Now()}
		a.about = a.request.attributes()
		if s.audit != nil {
			a.annotations, a.took = map[string]string{}, map[string]time.Duration{}
		}
		ctx := context.WithValue(r.Context(), requestKey{}, a)
		next.ServeHTTP(w, r.WithContext(auth.WithRemarks(ctx, remarks{a, w.Header()})))
	})
}

// remarks are what authentication has to say of a request beside who sent it.
type remarks struct {
	request *asked
	header  http.Header // of the answer
}

func (m remarks) Annotate(key, value string) { m.request.annotate(key, value) }

func (m remarks) Warn(text string) {
	var only warnings
	only.add(m.header, text)
}

func (s *Server) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.metrics.serve(next, w, r, askedOf(r)) })
}

// serveAPI serves what is not a fixed end point: discovery, and the resources of the table.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	a := askedOf(r)
	q := a.request
	if !q.IsResource || q.lacksSegment() {
		s.discovery.ServeHTTP(w, r)
		return
	}
	switch err := s.serveResource(w, r, a); {
	case err == nil, errors.Is(err, context.Canceled) && r.Context().Err() != nil: // the client has gone
	case timeIsOver(r):
		writeTimeout(w)
	default:
		writeError(w, r, q.named(err))
	}
}

// serveResource hands a request to the function of its verb.
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request, a *asked) error {
	q := a.request
	if !s.discovery.servesGroup(q.Group) {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return nil
	}
	if err := q.resolve(s.registry, r.Method); err != nil {
		return err
	}
	c := &call{Request: q, s: s, w: w, r: r, user: a.about.User, now: a.received}
	if c.version.Warning != "" {
		c.warn(c.version.Warning)
		c.annotate("k8s.io/deprecated", "true")
	}
	if c.sub != nil && c.sub.Connect != nil {
		return c.connect()
	}
	switch q.Verb {
	case "get":
		if c.row.Observe != nil {
			return c.getObserved()
		}
		return c.get()
	case "list":
		if c.row.Observe != nil {
			return c.listObserved()
		}
		return c.list()
	case "watch":
		return c.watch()
	case "create":
		return c.create()
	case "update":
		return c.update()
	case "patch":
		return c.patch()
	case "delete":
		return c.delete()
	case "deletecollection":
		return c.deletecollection()
	}
	return errMethodNotAllowed()
}
