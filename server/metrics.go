package server

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

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
}

func newMetrics(s *Server) *metrics {
	what := []string{"verb", "group", "version", "resource", "subresource", "scope"}
	m := &metrics{
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
	r.MustRegister(m.total, m.duration, m.size, m.running, m.watches, storeMetrics(s.storage.all()),
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

// serve passes a request on and counts it.
func (m *metrics) serve(next http.Handler, w http.ResponseWriter, r *http.Request, a *asked) {
	q := a.request
	labels := []string{q.metricVerb(r), q.Group, q.Version, q.Plural, q.Subresource, q.scope()}
	out := &counted{ResponseWriter: w, seat: &a.seat}
	if q.isStream() {
		g := m.watches.WithLabelValues(labels...)
		g.Inc()
		defer g.Dec()
	} else {
		kind := "readOnly"
		if q.IsResource && q.Verb != "get" && q.Verb != "list" {
			kind = "mutating"
		}
		g := m.running.WithLabelValues(kind)
		g.Inc()
		defer g.Dec()
	}
	next.ServeHTTP(out, r)
	dry := ""
	if r.URL.Query().Has("dryRun") {
		dry = "All"
	}
	m.total.WithLabelValues(append([]string{dry, strconv.Itoa(out.code)}, labels...)...).Inc()
	if !q.isStream() {
		m.duration.WithLabelValues(append([]string{dry}, labels...)...).Observe(time.Since(a.received).Seconds())
	}
	if q.Verb == "get" || q.Verb == "list" {
		m.size.WithLabelValues(labels...).Observe(float64(out.size))
	}
}

// metricVerb is the verb as metrics spell it.
func (q *Request) metricVerb(r *http.Request) string {
	switch {
	case !q.IsResource:
		return r.Method
	case q.Verb == "":
		return "OTHER"
	case q.Verb == "deletecollection":
		return "DELETECOLLECTION"
	}
	return map[string]string{"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT",
		"patch": "PATCH", "delete": "DELETE"}[q.Verb]
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
