package scheduler

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Scheduler schedules pods for one term.
type Scheduler struct {
	config   *Config
	profiles map[string]*profile
	volumes  *volumes
	metrics  *metrics
	hall     *hall
	// extenders are programs that have a say about pods, asked over HTTP.
	extenders extenders

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

// New makes a scheduler; Run starts it. It is an error if the configuration is not valid, or names files that cannot be read.
func New(config *Config) (*Scheduler, error) {
	if config.Configuration == nil {
		own := *config
		own.Configuration = DefaultConfiguration()
		config = &own
	}
	s := &Scheduler{config: config, cluster: newCluster(), volumes: newVolumes(config.Informers), profiles: map[string]*profile{},
		metrics: newMetrics(), hall: newHall(), preempting: map[types.UID]bool{}, lane: make(chan struct{}, reports)}
	s.changed = sync.NewCond(&s.mu)
	var err error
	if s.extenders, err = newExtenders(config.Configuration.Extenders); err != nil {
		return nil, err
	}
	for i := range config.Configuration.Profiles {
		p, err := newProfile(&config.Configuration.Profiles[i], s)
		if err != nil {
			return nil, err
		}
		s.profiles[p.name] = p
	}
	s.queue = newQueue(config.Clock.Now, s.wakenBy)
	s.queue.firstBackoff = time.Duration(*config.Configuration.PodInitialBackoffSeconds) * time.Second
	s.queue.lastBackoff = time.Duration(*config.Configuration.PodMaxBackoffSeconds) * time.Second
	return s, nil
}

// rows are all plugins that there are.
func (s *Scheduler) rows() []Row { return append(Plugins(), s.config.More...) }

// wakenBy is the kinds of events that may help pods that a plugin has refused, whatever their profile.
func (s *Scheduler) wakenBy(plugin string) (kinds Kind) {
	for _, p := range s.profiles {
		kinds |= p.wakenBy(plugin)
	}
	return kinds
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

// flush does what time makes due, at the end of each window of back-off.
func (s *Scheduler) flush(ctx context.Context) {
	for {
		now := s.config.Clock.Now()
		end := s.config.Clock.NewTimer(now.Truncate(backoffWindow).Add(backoffWindow).Sub(now))
		select {
		case <-ctx.Done():
			end.Stop()
			return
		case <-end.C():
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
	switch {
	case n != nil:
	case diagnosis.Err != nil:
		s.fail(ctx, w, diagnosis.Err)
	default:
		s.refuse(ctx, w, c, diagnosis)
	}
	c.countJudged()
	s.metrics.decideSeconds.Observe(c.watch.now().Sub(w.looked).Seconds())
	if n != nil {
		s.bind(ctx, w, c, n)
	}
}

// newCycle begins a look at a pod.
func (s *Scheduler) newCycle(w *Waiting) *Cycle {
	s.cluster.cycle++
	return &Cycle{Cluster: s.cluster, Pod: w.Pod, profile: w.profile, promises: s.queue.promises, promised: w.promised,
		extenders: s.extenders, random: s.config.Random,
		watch: stopwatch{s.metrics, s.config.Clock.Now, w.looked, s.cluster.cycle%sampleEvery == 0}}
}

// fail puts a pod back that something went wrong with, and says what.
func (s *Scheduler) fail(ctx context.Context, w *Waiting, err error) {
	s.metrics.attempted(resultError, w.profile.name, s.config.Clock.Now().Sub(w.looked))
	level := slog.LevelWarn
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsConflict(err) {
		level = slog.LevelDebug // it goes with its namespace, or the next attempt will see what has changed
	}
	s.config.Log.Log(ctx, level, "a pod is not scheduled", "pod", w.key(), "err", err)
	s.report(ctx, w, corev1.PodReasonSchedulerError, err.Error(), new(string))
	s.queue.fail(w)
}

// refuse looks for a remedy, parks the pod, and says why.
func (s *Scheduler) refuse(ctx context.Context, w *Waiting, c *Cycle, d *Diagnosis) {
	var nominated *string
	if d.Nodes == 0 {
		nominated = new(string)
	} else {
		nominated = c.remedy(d)
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

// remedy asks for a way until there is one. What is told otherwise is what all have said.
func (c *Cycle) remedy(d *Diagnosis) (nominated *string) {
	if len(c.profile.remedies) == 0 {
		return nil
	}
	var said []string
	for _, r := range c.profile.remedies {
		node, message := r.plugin.Remedy(c, d)
		if node != nil {
			nominated = node
		}
		if node != nil && *node != "" {
			c.lap(pointPostFilter, statusSuccess)
			return nominated
		}
		said = append(said, message)
	}
	c.lap(pointPostFilter, statusUnschedulable)
	d.PostFilter = strings.Join(said, ", ")
	return nominated
}
