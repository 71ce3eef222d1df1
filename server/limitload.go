package server

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store"
	"github.com/knarr-dev/knarr/server/fairness"
)

// seat is a request's place at the gate of priority and fairness; without a gate it is none.
type seat struct {
	gate   *fairness.Gate
	ticket *fairness.Ticket // the one in use
	first  fairness.Ticket
	schema *fairness.Schema
	about  *registry.Attributes
	work   fairness.Work
	until  time.Time   // when it has queued for long enough
	away   atomic.Bool // the place has been lent to others
}

// enter queues for the place; it returns false if there is none to be had.
func (s *seat) enter(ctx context.Context) bool {
	if s.ticket != nil { // given up, and wanted again
		s.until = time.Now().Add(againPatience)
		s.ticket = &fairness.Ticket{}
		s.away.Store(false)
	} else {
		s.ticket = &s.first
	}
	return s.gate.Enter(ctx, s.ticket, s.schema, s.about, s.work, s.until)
}

// leave gives the place up before the request has ended, as a watch does once it has shown what there is. It may be
// called more than once.
func (s *seat) leave() {
	if s.gate != nil {
		s.gate.Leave(s.ticket)
	}
}

const (
	// clientPatience is how long a request keeps its seats while its client sends or takes nothing: seats are for the
	// server's work, and who dawdles would have others wait for nothing.
	clientPatience = 250 * time.Millisecond
	// againPatience is how long it queues to have them back.
	againPatience = 15 * time.Second
)

// lend gives the seats up if it is not stopped before: when the client lets the request wait for too long. stop returns
// false if they are gone.
func (s *seat) lend(after time.Duration) (stop func() bool) {
	if s.gate == nil {
		return func() bool { return true }
	}
	gate, ticket := s.gate, s.ticket
	return time.AfterFunc(after, func() {
		s.away.Store(true)
		gate.Leave(ticket)
	}).Stop
}

// openFairness opens the gate, if there is to be one.
func (s *Server) openFairness(ctx context.Context) {
	if !s.config.PriorityAndFairness {
		return
	}
	s.fairness = fairness.New(s.config.MaxInFlight + s.config.MaxMutating)
	if err := s.fairness.Follow(ctx, objects{registry: s.registry}); err != nil {
		s.log.Warn("read flow schemas and priority levels; until they can be read, the mandatory ones rule", "err", err)
	}
}

// keepFairness lets priority levels lend and borrow until ctx ends.
func (s *Server) keepFairness(ctx context.Context) {
	if s.fairness == nil {
		return
	}
	tick := time.NewTicker(fairness.AdjustPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.fairness.Adjust()
		}
	}
}

// limitLoad lets requests wait for their turn, or tells clients to come again. Streams are let through; of them only
// watches have to queue, for as long as they begin.
func (s *Server) limitLoad(next http.Handler) http.Handler {
	if s.fairness == nil {
		return s.limitInFlight(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := askedOf(r)
		if a.request.isStream() && a.request.Verb != "watch" {
			next.ServeHTTP(w, r)
			return
		}
		seat := &a.seat
		seat.about, seat.schema = &a.about, s.fairness.Classify(&a.about)
		seat.schema.Mark(w.Header())
		seat.gate, seat.work, seat.until = s.fairness, s.work(r, a.request, seat.schema.MaxSeats()), s.queueUntil(r, a.received)
		start := time.Now()
		entered := seat.enter(r.Context())
		a.lasted("apf-queue-wait", start)
		if !entered {
			tooManyRequests(w, seat.schema.RetryAfter())
			return
		}
		defer seat.leave()
		if a.request.Verb == "watch" {
			defer seat.lend(s.config.RequestTimeout / 4)() // whether its client takes the initial events or not
		}
		if r.Body != nil && r.ContentLength != 0 {
			body := &lentBody{ReadCloser: r.Body, ctx: r.Context(), seat: seat, all: &s.lentBytes}
			defer body.settle()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

const tooManyWord = "Too many requests, please try again later."

// tooManyRequests is the answer to those for whom there is no room.
func tooManyRequests(w http.ResponseWriter, after int64) {
	w.Header().Set("Retry-After", strconv.FormatInt(after, 10))
	http.Error(w, tooManyWord, http.StatusTooManyRequests)
}

// queueUntil is when a request has waited for long enough: a quarter of the time that it has, and no more than a minute.
func (s *Server) queueUntil(r *http.Request, received time.Time) time.Time {
	limit := s.config.RequestTimeout
	if deadline, ok := r.Context().Deadline(); ok {
		limit = deadline.Sub(received)
	}
	return received.Add(min(limit/4, time.Minute))
}

// work is what a request is expected to cost.
func (s *Server) work(r *http.Request, q *Request, limit int) fairness.Work {
	if !q.IsResource {
		return fairness.Plain()
	}
	objects := s.registry.Store(q.Group, q.Plural)
	if objects == nil {
		return fairness.Plain()
	}
	switch q.Verb {
	case "list", "watch":
		return fairness.Listing(listedBytes(r, q, objects), limit)
	case "create", "update", "patch", "delete":
		if q.Subresource == "token" {
			return fairness.Plain() // no object is written
		}
		return fairness.Writing(objects.Audience(store.Key{Namespace: q.Namespace, Name: q.Name}), limit)
	}
	return fairness.Plain()
}

// listedBytes estimates what a list, or a watch's initial events, has to read.
func listedBytes(r *http.Request, q *Request, s *store.Store) int64 {
	if q.Name != "" || q.SelectedName != "" {
		return 0 // one object
	}
	objects, bytes := s.Extent(q.Namespace)
	if objects == 0 || r.URL.RawQuery == "" {
		return bytes
	}
	query := r.URL.Query()
	version := query.Get("resourceVersion")
	if q.Verb == "watch" {
		if initial := query.Get("sendInitialEvents"); initial == "false" || initial == "" && version != "" && version != "0" {
			return 0
		}
		return bytes
	}
	if limit, err := strconv.ParseInt(query.Get("limit"), 10, 64); err == nil && limit > 0 && limit < objects && version != "0" {
		return bytes / objects * limit
	}
	return bytes
}

// routeFairness shows what is going on at the gate.
func (s *Server) routeFairness(r chi.Router) {
	g := s.fairness
	for name, dump := range map[string]func(io.Writer, *http.Request) error{
		"dump_priority_levels": func(w io.Writer, _ *http.Request) error { return g.DumpLevels(w) },
		"dump_queues":          func(w io.Writer, _ *http.Request) error { return g.DumpQueues(w) },
		"dump_requests": func(w io.Writer, r *http.Request) error {
			return g.DumpRequests(w, r.URL.Query().Get("includeRequestDetails") != "")
		},
	} {
		r.HandleFunc("/debug/api_priority_and_fairness/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_ = dump(w, r) // who has gone needs no table
		})
	}
}
