package fairness

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics has the same names as upstream's. All are read when they are asked for: a request costs some additions.

const metricPrefix = "apiserver_flowcontrol_"

// Collector shows the gate's figures.
func (g *Gate) Collector() prometheus.Collector {
	c := &collector{gate: g}
	for _, m := range levelMetrics() {
		c.levels = append(c.levels, describe(m.name, m.help, "priority_level"))
	}
	for _, m := range schemaMetrics() {
		c.schemas = append(c.schemas, describe(m.name, m.help, append([]string{"priority_level", "flow_schema"}, m.labels...)...))
	}
	c.factor = describe("seat_fair_frac", "How many times its needed seats each level has that reaches none of its bounds.")
	return c
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

// levelMetric is a gauge of each level.
type levelMetric struct {
	name, help string
	value      func(*configured) float64
}

func levelMetrics() []levelMetric {
	return []levelMetric{
		{"nominal_limit_seats", "Seats of the level by its share.", func(l *configured) float64 { return float64(l.limits.nominal) }},
		{"lower_limit_seats", "Seats that the level keeps, whatever it lends.", func(l *configured) float64 { return float64(l.limits.lowest) }},
		{"upper_limit_seats", "Seats that the level may have, whatever it borrows.", func(l *configured) float64 { return float64(l.limits.highest) }},
		{"current_limit_seats", "Seats that the level has now.", func(l *configured) float64 { return float64(l.seats) }},
		{"demand_seats_high_watermark", "Most seats that could be used at a time in the last period.", func(l *configured) float64 { return float64(l.need.highest) }},
		{"demand_seats_average", "Seats that could be used in the last period, on average.", func(l *configured) float64 { return l.need.mean }},
		{"demand_seats_stdev", "Standard deviation of the seats that could be used in the last period.", func(l *configured) float64 { return l.need.deviation }},
		{"demand_seats_smoothed", "Seats that the level is taken to need.", func(l *configured) float64 { return l.need.smoothed }},
		{"target_seats", "Seats that the level was to have if there were enough for all.", func(l *configured) float64 { return l.need.target }},
		{"current_r", "The level's meter.", func(l *configured) float64 { return l.meter }},
	}
}

// schemaMetric is a family of metrics of each schema in its level.
type schemaMetric struct {
	name, help string
	labels     []string
	send       func(t *tally, send sender)
}

// sender takes one metric of a family, with the values of the family's own labels.
type sender struct {
	value     func(prometheus.ValueType, int, ...string)
	histogram func(*histogram, ...string)
}

func schemaMetrics() []schemaMetric {
	gauge := func(name, help string, of func(*tally) int) schemaMetric {
		return schemaMetric{name, help, nil, func(t *tally, s sender) { s.value(prometheus.GaugeValue, of(t)) }}
	}
	counter := func(name, help string, of func(*tally) int) schemaMetric {
		return schemaMetric{name, help, nil, func(t *tally, s sender) { s.value(prometheus.CounterValue, of(t)) }}
	}
	return []schemaMetric{
		counter("dispatched_requests_total", "Requests that were let in.", func(t *tally) int { return t.dispatched }),
		counter("request_dispatch_no_accommodation_total", "Times that a request had its turn and found too few seats.", func(t *tally) int { return t.unfit }),
		{"rejected_requests_total", "Requests that were refused.", []string{"reason"}, func(t *tally, s sender) {
			for why, n := range t.refused {
				if n > 0 {
					s.value(prometheus.CounterValue, n, reason(why).String())
				}
			}
		}},
		gauge("current_inqueue_requests", "Requests that wait.", func(t *tally) int { return t.waiting }),
		gauge("current_inqueue_seats", "Seats that waiting requests want.", func(t *tally) int { return t.waitingSeats }),
		gauge("current_executing_requests", "Requests that are served.", func(t *tally) int { return t.serving }),
		gauge("current_executing_seats", "Seats in use.", func(t *tally) int { return t.seats }),
		{"request_wait_duration_seconds", "Time from arrival to seats, or to having waited for long enough.", []string{"execute"}, func(t *tally, s sender) {
			s.histogram(&t.waited[0], "false")
			s.histogram(&t.waited[1], "true")
		}},
		{"request_execution_seconds", "Time with seats, but for what lingers.", []string{"type"}, func(t *tally, s sender) {
			s.histogram(&t.took, "regular")
			s.histogram(&t.initialization, "watch")
		}},
		{"request_queue_length_after_enqueue", "Length of the queues that requests joined.", nil, func(t *tally, s sender) { s.histogram(&t.lengths) }},
		{"work_estimated_seats", "Seats that requests were expected to need.", nil, func(t *tally, s sender) { s.histogram(&t.expected) }},
	}
}

type collector struct {
	gate            *Gate
	levels, schemas []*prometheus.Desc // of levelMetrics and schemaMetrics
	factor          *prometheus.Desc
}

// Describe sends the metrics' descriptions.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range append(slices.Concat(c.levels, c.schemas), c.factor) {
		out <- d
	}
}

// Collect sends today's figures.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.current.Load()
	out <- prometheus.MustNewConstMetric(c.factor, prometheus.GaugeValue, now.factor)
	for i := range now.levels {
		c.collect(out, &now.levels[i])
	}
}

func (c *collector) collect(out chan<- prometheus.Metric, l *configured) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range levelMetrics() {
		out <- prometheus.MustNewConstMetric(c.levels[i], prometheus.GaugeValue, m.value(l), l.name)
	}
	for schema, t := range l.tallies {
		for i, m := range schemaMetrics() {
			labels := func(own []string) []string { return append([]string{l.name, schema}, own...) }
			m.send(t, sender{
				value: func(kind prometheus.ValueType, n int, own ...string) {
					out <- prometheus.MustNewConstMetric(c.schemas[i], kind, float64(n), labels(own)...)
				},
				histogram: func(h *histogram, own ...string) {
					if count, buckets := h.cumulative(); count > 0 {
						out <- prometheus.MustNewConstHistogram(c.schemas[i], count, h.sum, buckets, labels(own)...)
					}
				},
			})
		}
	}
}
