package controllers

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// metrics are the queues of one term's controllers, under client-go's names. What can be read off when somebody asks is
// not counted: client-go's own metrics would wake the process twice a second for each queue.
type metrics struct {
	adds, retries  *prometheus.CounterVec
	waited, worked *prometheus.HistogramVec
	running        *prometheus.GaugeVec

	mu     sync.Mutex // guards queues
	queues []*measured
}

func newMetrics() *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "workqueue", Name: name, Help: help}, []string{"name"})
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Subsystem: "workqueue", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(10e-9, 10, 12)}, []string{"name"})
	}
	return &metrics{
		adds:    counter("adds_total", "Keys that came into the queue."),
		retries: counter("retries_total", "Keys that came back after an error."),
		waited:  histogram("queue_duration_seconds", "Time in seconds that a key was in the queue."),
		worked:  histogram("work_duration_seconds", "Time in seconds that the turn of a key took."),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "running_managed_controllers", Help: "Whether a controller runs."}, []string{"manager", "name"}),
	}
}

// collectors are all of them.
func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.adds, m.retries, m.waited, m.worked, m.running, m}
}

// Describe and Collect show what is so at the moment.
func (m *metrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect adds up the queues of each controller.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	type moment struct{ depth, unfinished, longest float64 }
	all := map[string]*moment{}
	for _, q := range m.queues {
		x := all[q.name]
		if x == nil {
			x = &moment{}
			all[q.name] = x
		}
		depth, unfinished, longest := q.now()
		x.depth, x.unfinished, x.longest = x.depth+float64(depth), x.unfinished+unfinished.Seconds(), max(x.longest, longest.Seconds())
	}
	for name, x := range all {
		tell := func(metric, help string, value float64) {
			to <- prometheus.MustNewConstMetric(prometheus.NewDesc("workqueue_"+metric, help, []string{"name"}, nil), prometheus.GaugeValue, value, name)
		}
		tell("depth", "Keys in the queue.", x.depth)
		tell("unfinished_work_seconds", "Sum of the seconds that the turns under way have taken so far.", x.unfinished)
		tell("longest_running_processor_seconds", "Seconds that the longest turn under way has taken so far.", x.longest)
	}
}

// measured is a queue that notes when its keys come and go.
type measured struct {
	workqueue.TypedInterface[Key]
	name           string
	clock          clock.PassiveClock
	adds           prometheus.Counter
	waited, worked prometheus.Observer

	mu      sync.Mutex // guards the fields below
	waiting map[Key]time.Time
	working map[Key]time.Time
}

// queue makes a queue for a controller.
func (m *metrics) queue(name string, c clock.WithTickerAndDelayedExecution, limiter workqueue.TypedRateLimiter[Key]) workqueue.TypedRateLimitingInterface[Key] {
	q := &measured{TypedInterface: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[Key]{Clock: c}), name: name, clock: c,
		adds: m.adds.WithLabelValues(name), waited: m.waited.WithLabelValues(name), worked: m.worked.WithLabelValues(name),
		waiting: map[Key]time.Time{}, working: map[Key]time.Time{}}
	m.mu.Lock()
	m.queues = append(m.queues, q)
	m.mu.Unlock()
	later := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[Key]{Clock: c, Queue: q})
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[Key]{Clock: c, DelayingQueue: later})
}

// Add notes keys that are not in the queue already.
func (q *measured) Add(k Key) {
	q.mu.Lock()
	if _, there := q.waiting[k]; !there {
		q.waiting[k] = q.clock.Now()
		q.adds.Inc()
	}
	q.mu.Unlock()
	q.TypedInterface.Add(k)
}

// Get notes how long a key has waited.
func (q *measured) Get() (Key, bool) {
	k, ended := q.TypedInterface.Get()
	if ended {
		return k, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	if since, there := q.waiting[k]; there {
		q.waited.Observe(now.Sub(since).Seconds())
		delete(q.waiting, k)
	}
	q.working[k] = now
	return k, false
}

// Done notes how long a turn has taken.
func (q *measured) Done(k Key) {
	q.mu.Lock()
	if since, there := q.working[k]; there {
		q.worked.Observe(q.clock.Since(since).Seconds())
		delete(q.working, k)
	}
	q.mu.Unlock()
	q.TypedInterface.Done(k)
}

// now is how many keys wait, and how long those whose turn it is have been at it: together, and the longest.
func (q *measured) now() (depth int, unfinished, longest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, since := range q.working {
		took := q.clock.Since(since)
		unfinished, longest = unfinished+took, max(longest, took)
	}
	return q.Len(), unfinished, longest
}
