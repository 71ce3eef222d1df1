package scheduler

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler answers what people and programs ask the scheduler. Who may ask is for the caller to see to.
//
//	GET /metrics               what it has done, in the format of Prometheus
func (s *Scheduler) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{}))
	return mux
}
