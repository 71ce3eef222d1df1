package audit

import (
	"github.com/prometheus/client_golang/prometheus"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// counts are the metrics, under upstream's names.
type counts struct {
	events, rejected prometheus.Counter
	errors, levels   *prometheus.CounterVec
	level            map[auditv1.Level]prometheus.Counter // of levels, found once
}

func newCounts() *counts {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Subsystem: "apiserver_audit", Name: name, Help: help}
	}
	c := &counts{
		events:   prometheus.NewCounter(counter("event_total", "Audit events made and handed to the backends.")),
		rejected: prometheus.NewCounter(counter("requests_rejected_total", "Requests refused because they could not be recorded.")),
		errors:   prometheus.NewCounterVec(counter("error_total", "Audit events lost, by the part that lost them."), []string{"plugin"}),
		levels:   prometheus.NewCounterVec(counter("level_total", "Requests, by the level at which the policy records them."), []string{"level"}),
		level:    map[auditv1.Level]prometheus.Counter{},
	}
	for _, l := range levels() {
		c.level[l] = c.levels.WithLabelValues(string(l))
	}
	return c
}

func (c *counts) ofLevel(l auditv1.Level) prometheus.Counter { return c.level[l] }

func (c *counts) all() []prometheus.Collector {
	return []prometheus.Collector{c.events, c.rejected, c.errors, c.levels}
}
