package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bind sends a pod to its node: from now on it counts there, as if it were bound. The rest goes on in the background.
func (s *Scheduler) bind(ctx context.Context, w *Waiting, c *Cycle, n *Node) {
	placed := w.Pod.on(n.name)
	counted := *placed // the cluster's own: it puts later versions of the pod into it
	s.cluster.assume(&counted)
	s.queue.promise(w, "")
	for i, r := range w.profile.reservers {
		if refusal := r.Reserve(c, n); refusal != nil {
			for _, done := range w.profile.reservers[:i] {
				done.Unreserve(placed)
			}
			s.cluster.removePod(placed.UID)
			d := s.cluster.newDiagnosis()
			d.Nodes = 1
			d.refuse(n, refusal)
			s.report(ctx, w, corev1.PodReasonUnschedulable, d.Message(), new(string))
			s.queue.refuse(w, d.Refusers)
			c.lap(pointReserve, statusUnschedulable)
			s.metrics.attempted(resultUnschedulable, w.profile.name, c.watch.now().Sub(w.looked))
			return
		}
	}
	c.lap(pointReserve, statusSuccess)
	said := w.reported
	s.background.Go(func() {
		if said != nil {
			<-said
		}
		if err := s.bindNow(ctx, w.profile, placed); err != nil {
			s.unbind(ctx, w, placed, err)
			return
		}
		s.bound(w)
		s.tell(w.profile, placed.Pod, nil, corev1.EventTypeNormal, "Scheduled", "Binding",
			fmt.Sprintf("Successfully assigned %s/%s to %s", placed.Namespace, placed.Name, n.name))
	})
}

func (s *Scheduler) bindNow(ctx context.Context, profile *profile, placed *Pod) error {
	for _, p := range profile.preparers {
		if !p.Awaits(placed) {
			continue
		}
		status := placed.Status.DeepCopy()
		status.NominatedNodeName = placed.Spec.NodeName
		if err := s.patchStatus(ctx, placed.Pod, status); err != nil {
			s.config.Log.Warn("a nomination is not written", "err", err) // nobody relies on it
		}
		if err := p.Prepare(ctx, placed); err != nil {
			return fmt.Errorf("running PreBind plugin %q: %w", p.name, err)
		}
	}
	if err := profile.binder.Bind(ctx, placed); err != nil {
		return fmt.Errorf("running Bind plugin %q: %w", profile.binder.name, err)
	}
	return nil
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
func (s *Scheduler) unbind(ctx context.Context, w *Waiting, placed *Pod, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster.assumed[placed.UID] {
		for _, r := range w.profile.reservers {
			r.Unreserve(placed)
		}
		s.cluster.removePod(placed.UID)
		s.queue.happened(&Event{Kind: PodDeleted, Pod: placed})
	}
	if s.queue.pods[w.UID] == w && ctx.Err() == nil {
		s.metrics.attempted(resultError, w.profile.name, s.config.Clock.Now().Sub(w.looked))
		s.config.Log.Warn("a pod is not bound", "pod", placed.key(), "node", placed.Spec.NodeName, "err", err)
		s.report(ctx, w, corev1.PodReasonSchedulerError, err.Error(), new(string))
		s.queue.fail(w)
	}
	s.changed.Signal()
}

// defaultBinder binds by the API's own verb.
type defaultBinder struct{ config *Config }

func newDefaultBinder(config *Config, _ *Scheduler) any { return &defaultBinder{config} }

func (b *defaultBinder) Bind(ctx context.Context, p *Pod) error {
	return b.config.Client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: p.Spec.NodeName},
	}, metav1.CreateOptions{})
}
