package server

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// SLIs are what came of the checks whenever somebody asked for one of /healthz, /livez and /readyz, for /metrics/slis: whoever
// asks every few seconds finds there how long each has held. The other parts of a cluster keep theirs likewise.
type SLIs struct {
	last     *prometheus.GaugeVec
	total    *prometheus.CounterVec
	registry *prometheus.Registry
}

// NewSLIs are of nothing yet.
func NewSLIs() *SLIs {
	s := &SLIs{registry: prometheus.NewRegistry(),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck",
			Help: "What came of a check the last time: 1 if all was well."}, []string{"name", "type"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total",
			Help: "How often what came of a check."}, []string{"name", "type", "status"})}
	s.registry.MustRegister(s.last, s.total)
	return s
}

// note keeps what came of a check of an end point.
func (s *SLIs) note(check, point string, err error) {
	well, status := 1.0, "success"
	if err != nil {
		well, status = 0, "error"
	}
	s.last.WithLabelValues(check, point).Set(well)
	s.total.WithLabelValues(check, point, status).Inc()
}

// ServeHTTP tells them; DELETE begins anew.
func (s *SLIs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		s.last.Reset()
		s.total.Reset()
		fmt.Fprint(w, "metrics reset\n")
		return
	}
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// BuildInfo is a metric that says which release this is.
func BuildInfo() prometheus.Collector {
	v := Version(builtFrom())
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "1, and in labels what this was built from.",
		ConstLabels: prometheus.Labels{"major": v.Major, "minor": v.Minor, "git_version": v.GitVersion, "git_commit": v.GitCommit, "git_tree_state": v.GitTreeState,
			"build_date": v.BuildDate, "go_version": v.GoVersion, "compiler": v.Compiler, "platform": v.Platform}}, func() float64 { return 1 })
}
