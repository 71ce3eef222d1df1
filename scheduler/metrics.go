package scheduler

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts and times what the scheduler does, under upstream's names. What can be read off the queue and the
// cluster when somebody asks is not counted here, but collected then.
type metrics struct {
	attempts       *prometheus.CounterVec
	attemptSeconds *prometheus.HistogramVec
	decideSeconds  prometheus.Histogram
	podSeconds     *prometheus.HistogramVec
	podAttempts    prometheus.Histogram
	pointSeconds   *prometheus.HistogramVec
	pluginSeconds  *prometheus.HistogramVec
	permitSeconds  *prometheus.HistogramVec
	evaluations    *prometheus.CounterVec
	binding        prometheus.Gauge
	preemptions    prometheus.Counter
	victims        prometheus.Histogram
}

// Results of attempts and of what plugins say at a point, as metrics name them.
const (
	resultScheduled     = "scheduled"
	resultUnschedulable = "unschedulable"
	resultError         = "error"

	statusSuccess       = "Success"
	statusUnschedulable = "Unschedulable"
	statusError         = "Error"
)

// Points of a pod's way, as metrics name them.
const (
	pointPreFilter  = "PreFilter"
	pointFilter     = "Filter"
	pointPostFilter = "PostFilter"
	pointScore      = "Score"
	pointReserve    = "Reserve"
	pointPermit     = "Permit"
	pointPreBind    = "PreBind"
	pointBind       = "Bind"
	pointPostBind   = "PostBind"
)

func newMetrics() *metrics {
	histogram := func(name, help string, from, factor float64, buckets int, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "scheduler_" + name, Help: help,
			Buckets: prometheus.ExponentialBuckets(from, factor, buckets)}, labels)
	}
	one := func(v *prometheus.HistogramVec) prometheus.Histogram {
		return v.WithLabelValues().(prometheus.Histogram)
	}
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scheduler_schedule_attempts_total",
			Help: "Looks at pods, by what came of it and by profile."}, []string{"result", "profile"}),
		attemptSeconds: histogram("scheduling_attempt_duration_seconds", "Time in seconds from the look at a pod until it is bound, or put back.", 0.001, 2, 15, "result", "profile"),
		decideSeconds:  one(histogram("scheduling_algorithm_duration_seconds", "Time in seconds that it took to find a node, or that there is none.", 0.001, 2, 15)),
		podSeconds:     histogram("pod_scheduling_sli_duration_seconds", "Time in seconds from the first look at a pod until it is bound, by how many it took.", 0.01, 2, 20, "attempts"),
		podAttempts:    one(histogram("pod_scheduling_attempts", "How many looks at a pod it took until it was bound.", 1, 2, 5)),
		pointSeconds:   histogram("framework_extension_point_duration_seconds", "Time in seconds of all plugins at one point of a pod's way.", 0.0001, 2, 12, "extension_point", "status", "profile"),
		pluginSeconds:  histogram("plugin_execution_duration_seconds", "Time in seconds of one plugin at one point, measured in every tenth cycle.", 0.00001, 1.5, 20, "plugin", "extension_point", "status"),
		permitSeconds:  histogram("permit_wait_duration_seconds", "Time in seconds that pods were held back once they had a node.", 0.001, 2, 15, "result"),
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scheduler_plugin_evaluation_total",
			Help: "Nodes that a plugin has judged or scored."}, []string{"plugin", "extension_point", "profile"}),
		binding: prometheus.NewGauge(prometheus.GaugeOpts{Name: "scheduler_goroutines", Help: "What goes on beside the looks at pods, by what it is.",
			ConstLabels: prometheus.Labels{"operation": "binding"}}),
		preemptions: prometheus.NewCounter(prometheus.CounterOpts{Name: "scheduler_preemption_attempts_total", Help: "How often it was looked for a pod's place at the cost of others."}),
		victims:     one(histogram("preemption_victims", "How many pods had to go for one.", 1, 2, 7)),
	}
}

// attempted notes how one look at a pod ended.
func (m *metrics) attempted(result, profile string, took time.Duration) {
	m.attempts.WithLabelValues(result, profile).Inc()
	m.attemptSeconds.WithLabelValues(result, profile).Observe(took.Seconds())
}

// manyAttempts is from where on they are not told apart any more.
const manyAttempts = 15

// scheduled notes that a pod is bound.
func (m *metrics) scheduled(w *Waiting, now time.Time) {
	m.attempted(resultScheduled, w.profile.name, now.Sub(w.looked))
	attempts := strconv.Itoa(w.attempts)
	if w.attempts >= manyAttempts {
		attempts = strconv.Itoa(manyAttempts) + "+"
	}
	m.podSeconds.WithLabelValues(attempts).Observe(now.Sub(w.first).Seconds())
	m.podAttempts.Observe(float64(w.attempts))
}

// Collectors are the scheduler's metrics.
func (s *Scheduler) Collectors() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{m.attempts, m.attemptSeconds, m.decideSeconds, m.podSeconds, m.podAttempts, m.pointSeconds,
		m.pluginSeconds, m.permitSeconds, m.evaluations, m.binding, m.preemptions, m.victims, standing{s}}
}

// stopwatch times the points of one cycle.
type stopwatch struct {
	metrics *metrics
	now     func() time.Time
	last    time.Time
	sampled bool // plugins are timed one by one
}

// sampleEvery is how many cycles there are to one in which each plugin is timed.
const sampleEvery = 10

// lap ends a point, and begins the next.
func (c *Cycle) lap(point, status string) {
	if c.watch.metrics == nil {
		return
	}
	now := c.watch.now()
	took := now.Sub(c.watch.last).Seconds()
	c.watch.last = now
	c.profile.observer(c.watch.metrics, point, status).Observe(took)
}

// observer keeps what is wanted in every cycle at hand.
func (p *profile) observer(m *metrics, point, status string) prometheus.Observer {
	if status != statusSuccess {
		return m.pointSeconds.WithLabelValues(point, status, p.name)
	}
	o := p.points[point]
	if o == nil {
		o = m.pointSeconds.WithLabelValues(point, status, p.name)
		p.points[point] = o
	}
	return o
}

// evaluation is what a plugin does with nodes at a point.
type evaluation struct{ plugin, point string }

// counted notes how many nodes a plugin has judged or scored.
func (c *Cycle) counted(plugin, point string, nodes int) {
	if c.watch.metrics == nil {
		return
	}
	known, e := c.profile.evaluations, evaluation{plugin, point}
	if known[e] == nil {
		known[e] = c.watch.metrics.evaluations.WithLabelValues(plugin, point, c.profile.name)
	}
	known[e].Add(float64(nodes))
}

// countJudged notes what the judges have been asked in the whole cycle, preemption included.
func (c *Cycle) countJudged() {
	for i := range c.judges {
		c.counted(c.judges[i].plugin, pointFilter, c.judges[i].asked)
	}
}

// begin is when a plugin begins, in cycles that are sampled.
func (w *stopwatch) begin() (start time.Time) {
	if w.sampled {
		start = w.now()
	}
	return start
}

// end notes how long it took.
func (w *stopwatch) end(start time.Time, plugin, point, status string) {
	if w.sampled {
		w.metrics.pluginSeconds.WithLabelValues(plugin, point, status).Observe(w.now().Sub(start).Seconds())
	}
}

// statusOf is how metrics name what a plugin has said.
func statusOf(r *Refusal) string {
	if r != nil {
		return statusUnschedulable
	}
	return statusSuccess
}

// standing is what stands in the queue and the cluster.
type standing struct{ *Scheduler }

func pendingPods() *prometheus.Desc {
	return prometheus.NewDesc("scheduler_pending_pods", "Pods that wait, by where: in line, in back-off, refused, or not let in yet.", []string{"queue"}, nil)
}

func unschedulablePods() *prometheus.Desc {
	return prometheus.NewDesc("scheduler_unschedulable_pods", "Refused pods, by the plugins that refused them.", []string{"plugin", "profile"}, nil)
}

func incomingPods() *prometheus.Desc {
	return prometheus.NewDesc("scheduler_queue_incoming_pods_total", "Pods that came into a part of the queue, by what brought them there.", []string{"queue", "event"}, nil)
}

func cacheSize() *prometheus.Desc {
	return prometheus.NewDesc("scheduler_cache_size", "What the scheduler knows of: nodes, pods on them, and those of the pods that are assumed to be.", []string{"type"}, nil)
}

// Describe names the metrics.
func (standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pendingPods(), unschedulablePods(), incomingPods(), cacheSize()} {
		out <- d
	}
}

// Collect counts.
func (s standing) Collect(out chan<- prometheus.Metric) {
	for _, m := range s.stand() {
		out <- m
	}
}

func (s standing) stand() (all []prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...))
	}
	q := s.queue
	for name, pods := range map[string]int{"active": q.active.Len(), "backoff": q.backoff.Len() + q.broken.Len(), "unschedulable": len(q.parked), "gated": q.gated} {
		gauge(pendingPods(), pods, name)
	}
	type refusal struct{ plugin, profile string }
	refused := map[refusal]int{}
	for _, w := range q.pods {
		for plugin := range w.refusers {
			refused[refusal{plugin, w.profile.name}]++
		}
	}
	for r, pods := range refused {
		gauge(unschedulablePods(), pods, r.plugin, r.profile)
	}
	for a, pods := range q.arrivals {
		all = append(all, prometheus.MustNewConstMetric(incomingPods(), prometheus.CounterValue, float64(pods), a.queue, a.event))
	}
	gauge(cacheSize(), len(s.cluster.names), "nodes")
	gauge(cacheSize(), len(s.cluster.pods), "pods")
	gauge(cacheSize(), len(s.cluster.assumed), "assumed_pods")
	return all
}
