package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bind sends a pod to its node: from now on it counts there, as if it were bound. The rest goes on in the background.
func (s *Scheduler) bind(ctx context.Context, w *Waiting, c *Cycle, n *Node) {
	placed := w.Pod.on(n.name)
	counted := *placed // the cluster's own: it puts later versions of the pod into it
	s.cluster.assume(&counted)
	s.queue.promise(w, "")
	if refusal := s.settle(c, placed, n); refusal != nil {
		s.cluster.removePod(placed.UID)
		s.turnBack(ctx, w, refusal, false)
		return
	}
	said := w.reported
	s.metrics.binding.Inc()
	s.background.Go(func() {
		defer s.metrics.binding.Dec()
		if said != nil {
			<-said
		}
		if v := s.bindNow(ctx, w, placed); v.refusal != nil || v.err != nil {
			s.unbind(ctx, w, placed, v)
			return
		}
		s.bound(w)
		s.tell(w.profile, placed.Pod, nil, corev1.EventTypeNormal, "Scheduled", "Binding",
			fmt.Sprintf("Successfully assigned %s/%s to %s", placed.Namespace, placed.Name, placed.Spec.NodeName))
		start := s.config.Clock.Now()
		for _, o := range w.profile.observers {
			o.Bound(placed)
		}
		s.observe(w.profile, pointPostBind, nil, start)
	})
}

// settle reserves what the pod will use, and asks whether it may go on.
func (s *Scheduler) settle(c *Cycle, placed *Pod, n *Node) *Refusal {
	reservers := c.profile.reservers
	for i, r := range reservers {
		start := c.watch.begin()
		refusal := r.plugin.Reserve(c, n)
		c.watch.end(start, r.name, pointReserve, statusOf(refusal))
		if refusal != nil {
			c.lap(pointReserve, statusUnschedulable)
			unreserve(reservers[:i], placed)
			return refusal
		}
	}
	c.lap(pointReserve, statusSuccess)
	refusal := s.permit(c, n)
	c.lap(pointPermit, statusOf(refusal))
	if refusal != nil {
		unreserve(reservers, placed)
	}
	return refusal
}

func unreserve(reservers []reserverOf, placed *Pod) {
	for _, r := range reservers {
		r.plugin.Unreserve(placed)
	}
}

// turnBack puts back a pod that was refused by the node that had been chosen for it. If it was held back before, what has
// happened meanwhile may have helped it.
func (s *Scheduler) turnBack(ctx context.Context, w *Waiting, refusal *Refusal, missed bool) {
	d := &Diagnosis{Nodes: 1, Others: refusal, Refusers: map[string]struct{}{refusal.Plugin: {}}}
	s.report(ctx, w, corev1.PodReasonUnschedulable, d.Message(), new(string))
	s.queue.refuse(w, d.Refusers)
	if missed && w.state == parked {
		s.queue.requeue(w, byForce)
	}
	s.metrics.attempted(resultUnschedulable, w.profile.name, s.config.Clock.Now().Sub(w.looked))
}

func (s *Scheduler) bindNow(ctx context.Context, w *Waiting, placed *Pod) verdict {
	var preparers []preparerOf
	for _, p := range w.profile.preparers {
		if p.plugin.Awaits(placed) {
			preparers = append(preparers, p)
		}
	}
	if len(preparers) > 0 || s.hall.holds(placed.UID) {
		status := placed.Status.DeepCopy()
		status.NominatedNodeName = placed.Spec.NodeName
		if err := s.patchStatus(ctx, placed.Pod, status); err != nil {
			s.config.Log.Warn("a nomination is not written", "err", err) // nobody relies on it
		}
	}
	if len(w.profile.permitters) > 0 {
		v, waited := s.hall.await(ctx, placed.UID, s.config.Clock)
		if waited > 0 {
			s.metrics.permitSeconds.WithLabelValues(v.status()).Observe(waited.Seconds())
		}
		if v.refusal != nil || v.err != nil {
			return v
		}
	}
	if err := s.prepare(ctx, w.profile, preparers, placed); err != nil {
		return verdict{err: err}
	}
	return verdict{err: s.bindBy(ctx, w.profile, placed)}
}

// prepare has plugins do what has to be done before. It ends early if another pod needs the place.
func (s *Scheduler) prepare(ctx context.Context, profile *profile, preparers []preparerOf, placed *Pod) error {
	start := s.config.Clock.Now()
	if len(preparers) == 0 {
		s.observe(profile, pointPreBind, nil, start)
		return nil
	}
	preparing, done := s.hall.prepare(ctx, placed.UID)
	var err error
	for _, p := range preparers {
		if err = p.plugin.Prepare(preparing, placed); err != nil {
			err = fmt.Errorf("running PreBind plugin %q: %w", p.name, err)
			break
		}
	}
	if canceled := done(); canceled != nil {
		err = canceled
	}
	s.observe(profile, pointPreBind, err, start)
	return err
}

// bindBy has the first that binds the pod do it: an extender that is in charge of it, or a plugin.
func (s *Scheduler) bindBy(ctx context.Context, profile *profile, placed *Pod) (err error) {
	start := s.config.Clock.Now()
	defer func() { s.observe(profile, pointBind, err, start) }()
	if e := s.extenders.binder(placed); e != nil {
		if err := e.bind(ctx, placed); err == nil || !e.Ignorable {
			return err
		}
	}
	for _, b := range profile.binders {
		done, err := b.plugin.Bind(ctx, placed)
		if err != nil {
			return fmt.Errorf("running Bind plugin %q: %w", b.name, err)
		}
		if done {
			return nil
		}
	}
	return errors.New("no Bind plugin binds the pod")
}

// observe times a point of the background.
func (s *Scheduler) observe(profile *profile, point string, err error, start time.Time) {
	status := statusSuccess
	if err != nil {
		status = statusError
	}
	s.metrics.pointSeconds.WithLabelValues(point, status, profile.name).Observe(s.config.Clock.Now().Sub(start).Seconds())
}

// bound notes that a pod is bound. If it was deleted meanwhile, and never seen on its node, nothing else will show that it
// takes no room there.
func (s *Scheduler) bound(w *Waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.bound = true
	s.metrics.scheduled(w, s.config.Clock.Now())
	if s.queue.pods[w.UID] != w && s.cluster.assumed[w.UID] {
		s.cluster.removePod(w.UID)
	}
}

// unbind takes back what was assumed of a pod that could not be bound.
func (s *Scheduler) unbind(ctx context.Context, w *Waiting, placed *Pod, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	missed := v.refusal != nil && s.queue.missed(w, v.refusal.Plugin) // its own end as an assumed pod does not count
	if s.cluster.assumed[placed.UID] {
		unreserve(w.profile.reservers, placed)
		s.cluster.removePod(placed.UID)
		delete(s.cluster.leaving, placed.UID)
		s.queue.happened(&Event{Kind: PodDeleted, Pod: placed})
	}
	switch {
	case s.queue.pods[w.UID] != w || ctx.Err() != nil:
	case v.refusal != nil:
		s.turnBack(ctx, w, v.refusal, missed)
	default:
		s.fail(ctx, w, v.err)
	}
	s.changed.Signal()
}

// defaultBinder binds by the API's own verb.
type defaultBinder struct {
	config *Config
	lane   chan struct{}
}

// bindings is how many are under way at a time. The API server shares itself among its clients: it would send some of a
// thousand away for a second.
const bindings = 100

func newDefaultBinder(s *Scheduler) *defaultBinder {
	return &defaultBinder{s.config, make(chan struct{}, bindings)}
}

func (b *defaultBinder) Bind(ctx context.Context, p *Pod) (bool, error) {
	b.lane <- struct{}{}
	defer func() { <-b.lane }()
	return true, b.config.Client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: p.Spec.NodeName},
	}, metav1.CreateOptions{})
}
