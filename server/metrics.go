package server

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/registry/store/encryption"
)

// metrics counts and times requests under upstream's names, and answers /metrics.
type metrics struct {
	http.Handler
	registry *prometheus.Registry
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	size     *prometheus.HistogramVec
	running  *prometheus.GaugeVec
	watches  *prometheus.GaugeVec
	known    sync.Map // of *series by seriesKey
	served   *registry.Registry
}

func newMetrics(s *Server) *metrics {
	what := []string{"verb", "group", "version", "resource", "subresource", "scope"}
	m := &metrics{served: s.registry,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total",
			Help: "Requests by verb, dry run, group, version, resource, scope and HTTP status."}, append([]string{"dry_run", "code"}, what...)),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds",
			Help:    "Time in seconds from the arrival of a request to the end of its answer; streams are left out.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}},
			append([]string{"dry_run"}, what...)),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_response_sizes",
			Help: "Size in bytes of answers to get and list.", Buckets: prometheus.ExponentialBuckets(1000, 10, 7)}, what),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests",
			Help: "Requests being served, by kind."}, []string{"request_kind"}),
		watches: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests",
			Help: "Streams being served."}, what),
	}
	r := prometheus.NewRegistry()
	if s.fairness != nil {
		r.MustRegister(s.fairness.Collector())
	}
	r.MustRegister(BuildInfo(), m.total, m.duration, m.size, m.running, m.watches, storeMetrics(s.storage.all()),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(tokenMetrics(s.security.accounts.Uses())...)
	all := prometheus.Gatherers{r}
	if keys := s.storage.keys; keys != nil {
		r.MustRegister(keys.counts.Collectors()...)
		all = append(all, prometheus.GathererFunc(encryption.PluginMetrics))
	}
	m.registry, m.Handler = r, promhttp.HandlerFor(all, promhttp.HandlerOpts{})
	return m
}

// register adds the metrics of a part that not every server has.
func (m *metrics) register(more ...prometheus.Collector) { m.registry.MustRegister(more...) }

// counted records an answer's status and size.
type counted struct {
	http.ResponseWriter
	seat *seat
	code int
	size int
}

// largeWrite is from where on a write may have to wait for the client: less fits into buffers on the way.
const largeWrite = 4096

func (c *counted) WriteHeader(code int) {
	if c.code == 0 {
		c.code = code
	}
	c.ResponseWriter.WriteHeader(code)
}

func (c *counted) Write(b []byte) (int, error) {
	if c.code == 0 {
		c.code = http.StatusOK
	}
	if len(b) >= largeWrite {
		defer c.seat.lend(clientPatience)()
	}
	n, err := c.ResponseWriter.Write(b)
	c.size += n
	return n, err
}

// Hijack hands over the connection, for streams that are upgraded.
func (c *counted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c.code = http.StatusSwitchingProtocols
	return http.NewResponseController(c.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// serve passes a request on and counts it, also one at which the server panics.
func (m *metrics) serve(next http.Handler, w http.ResponseWriter, r *http.Request, a *asked) {
	q := a.request
	series := m.seriesOf(q, r)
	out := &counted{ResponseWriter: w, seat: &a.seat}
	series.running.Inc()
	panicked := true
	defer func() {
		series.running.Dec()
		if panicked && out.code == 0 {
			out.code = http.StatusInternalServerError // as it will be
		}
		series.answered(out.code).Inc()
		if !q.isStream() {
			series.duration.Observe(time.Since(a.received).Seconds())
		}
		if q.Verb == "get" || q.Verb == "list" {
			series.size.Observe(float64(out.size))
		}
	}()
	next.ServeHTTP(out, r)
	panicked = false
}

// seriesKey is what requests are counted by, in the order of the metrics' label names.
type seriesKey struct{ verb, group, version, resource, subresource, scope, dryRun string }

func (l *seriesKey) values() []string {
	return []string{l.verb, l.group, l.version, l.resource, l.subresource, l.scope}
}

// series are the metrics of requests with the same labels, found once: looking them up costs more than counting.
type series struct {
	seriesKey
	total          *prometheus.CounterVec
	duration, size prometheus.Observer
	running        prometheus.Gauge
	codes          sync.Map // of prometheus.Counter by status
}

func (s *series) answered(code int) prometheus.Counter {
	if c, ok := s.codes.Load(code); ok {
		return c.(prometheus.Counter)
	}
	c := s.total.WithLabelValues(append([]string{s.dryRun, strconv.Itoa(code)}, s.values()...)...)
	s.codes.Store(code, c)
	return c
}

func (m *metrics) seriesOf(q *Request, r *http.Request) *series {
	l := m.labelsOf(q, r)
	if known, ok := m.known.Load(l); ok {
		return known.(*series)
	}
	s := &series{seriesKey: l, total: m.total, size: m.size.WithLabelValues(l.values()...),
		duration: m.duration.WithLabelValues(append([]string{l.dryRun}, l.values()...)...)}
	switch {
	case q.isStream():
		s.running = m.watches.WithLabelValues(l.values()...)
	case q.IsResource && q.Verb != "get" && q.Verb != "list":
		s.running = m.running.WithLabelValues("mutating")
	default:
		s.running = m.running.WithLabelValues("readOnly")
	}
	m.known.Store(l, s)
	return s
}

// labelsOf names only what there is: clients that ask for what there is not must not make metrics grow.
func (m *metrics) labelsOf(q *Request, r *http.Request) seriesKey {
	l := seriesKey{verb: q.metricVerb(r), scope: q.scope()}
	if strings.Contains(r.URL.RawQuery, "dryRun") && r.URL.Query().Has("dryRun") {
		l.dryRun = "All"
	}
	row, version := m.served.Lookup(q.Group, q.Version, q.Plural)
	if row == nil || q.Subresource != "" && row.Subresource(q.Subresource) == nil {
		return l
	}
	l.group, l.version, l.resource, l.subresource = row.Group, version.Name, row.Plural, q.Subresource
	return l
}

// metricVerb is the verb as metrics spell it.
func (q *Request) metricVerb(r *http.Request) string {
	if !q.IsResource {
		if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, r.Method) {
			return r.Method
		}
		return "OTHER"
	}
	switch q.Verb {
	case "create":
		return "POST"
	case "update":
		return "PUT"
	case "get", "list", "watch", "patch", "delete", "deletecollection":
		return strings.ToUpper(q.Verb)
	}
	return "OTHER"
}

// scope is what a request is about: one object, a namespace, or the cluster.
func (q *Request) scope() string {
	switch {
	case !q.IsResource:
		return ""
	case q.Name != "":
		return "resource"
	case q.Namespace != "":
		return "namespace"
	}
	return "cluster"
}
