package scheduler

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Scheduler schedules pods for one term.
type Scheduler struct {
	config   *Config
	profiles map[string]*profile
	volumes  *volumes
	metrics  *metrics

	// mu guards the fields below. A cycle holds it from its beginning to its end.
	mu      sync.Mutex
	changed *sync.Cond // something may be in the queue
	cluster *Cluster
	queue   *queue
	stopped bool
	// preempting are the pods whose victims are being deleted.
	preempting map[types.UID]bool

	// background is what goes on outside of cycles: binding, and telling people.
	background sync.WaitGroup
	lane       chan struct{} // bounds how much of the telling goes on at once
}

// reports is how many reports are written at once.
const reports = 16

// New makes a scheduler; Run starts it.
func New(config *Config) *Scheduler {
	s := &Scheduler{config: config, cluster: newCluster(), volumes: newVolumes(config.Informers), metrics: newMetrics(), profiles: map[string]*profile{},
		preempting: map[types.UID]bool{}, lane: make(chan struct{}, reports)}
	s.changed = sync.NewCond(&s.mu)
	names := config.SchedulerNames
	if len(names) == 0 {
		names = []string{corev1.DefaultSchedulerName}
	}
	for _, name := range names {
		s.profiles[name] = newProfile(name, config, s)
	}
	s.queue = newQueue(config.Clock.Now, s.profiles[names[0]].wakenBy) // profiles differ in what people set, not in plugins
	return s
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	unwatch, err := s.watch(ctx)
	defer unwatch()
	if err != nil || ctx.Err() != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		s.stopped = true
		s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.background.Go(func() { s.flush(ctx) })
	for s.next(ctx) {
	}
	s.background.Wait()
	return nil
}

// flush does from time to time what time makes due.
func (s *Scheduler) flush(ctx context.Context) {
	tick := s.config.Clock.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		}
		s.mu.Lock()
		s.queue.flush()
		s.mu.Unlock()
		s.changed.Signal()
	}
}

// next waits for a pod and looks at it. It returns false at the end of the term.
func (s *Scheduler) next(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.queue.pop()
	for w == nil && !s.stopped {
		s.changed.Wait()
		w = s.queue.pop()
	}
	if s.stopped {
		return false
	}
	s.schedule(ctx, w)
	return true
}

// schedule looks at one pod: it is on its way to a node in the end, or back in the queue.
func (s *Scheduler) schedule(ctx context.Context, w *Waiting) {
	if w.terminating() {
		s.tell(w.profile, w.Pod.Pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling",
			"skip schedule deleting pod: "+w.Namespace+"/"+w.Name)
		s.queue.remove(w.UID)
		return
	}
	c := s.newCycle(w)
	n, diagnosis := c.decide()
	if n == nil {
		s.refuse(ctx, w, c, diagnosis)
	}
	s.metrics.decideSeconds.Observe(c.watch.now().Sub(w.looked).Seconds())
	if n != nil {
		s.bind(ctx, w, c, n)
	}
}

// newCycle begins a look at a pod.
func (s *Scheduler) newCycle(w *Waiting) *Cycle {
	s.cluster.cycle++
	return &Cycle{Cluster: s.cluster, Pod: w.Pod, profile: w.profile, promises: s.queue.promises, promised: w.promised,
		watch: stopwatch{s.metrics, s.config.Clock.Now, w.looked, s.cluster.cycle%sampleEvery == 0}}
}

// refuse looks for a remedy, parks the pod, and says why.
func (s *Scheduler) refuse(ctx context.Context, w *Waiting, c *Cycle, d *Diagnosis) {
	var nominated *string
	if d.Nodes == 0 {
		nominated = new(string)
	} else {
		for _, remedy := range w.profile.remedies {
			var message string
			nominated, message = remedy.Remedy(c, d)
			c.lap(pointPostFilter, remedyStatus(nominated))
			d.PostFilter = message
			if nominated != nil && *nominated != "" {
				break
			}
		}
	}
	if nominated != nil {
		s.queue.promise(w, *nominated)
		if *nominated != w.Status.NominatedNodeName {
			w.awaited = nominated
		}
	}
	s.report(ctx, w, corev1.PodReasonUnschedulable, d.Message(), nominated)
	s.queue.refuse(w, d.Refusers)
	s.metrics.attempted(resultUnschedulable, w.profile.name, c.watch.now().Sub(w.looked))
}

func remedyStatus(nominated *string) string {
	if nominated == nil || *nominated == "" {
		return statusUnschedulable
	}
	return statusSuccess
}
