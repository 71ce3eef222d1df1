package scheduler

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// preempt deletes the victims in the background. Nominations of less important pods for the node end: they will look
// for another place.
func (s *Scheduler) preempt(c *Cycle, chosen candidate) {
	var victims []*Pod
	for _, v := range chosen.victims {
		if !v.terminating() && !s.cluster.leaving[v.UID] {
			s.cluster.leaving[v.UID] = true
			ours := *v // later versions of the pod are put into the cluster's own
			victims = append(victims, &ours)
		}
	}
	if len(victims) == 0 {
		return
	}
	pod, profile, node := c.Pod, c.profile, chosen.node.name
	var losers []*corev1.Pod
	for _, w := range append([]*Waiting(nil), s.queue.promises[node]...) {
		if w.priority() < pod.priority() {
			s.queue.promise(w, "")
			losers = append(losers, w.Pod.Pod)
		}
	}
	s.preempting[pod.UID] = true
	s.metrics.victims.Observe(float64(len(chosen.victims)))
	s.background.Go(func() {
		ctx := context.Background() // what was begun is ended, also at the end of the term: the pods were chosen together
		for _, loser := range losers {
			status := loser.Status.DeepCopy()
			status.NominatedNodeName = ""
			if err := s.patchStatus(ctx, loser, status); err != nil && !apierrors.IsNotFound(err) {
				s.config.Log.Warn("a nomination is not taken back", "err", err)
			}
		}
		err := s.evictAll(ctx, profile, pod, node, victims)
		if err != nil {
			s.config.Log.Warn("a preemption is not complete", "pod", pod.key(), "err", err)
		}
		s.preempted(pod, victims, err)
	})
}

// evictAll deletes the victims, and the last when all others are gone: its end is what the pod waits for.
func (s *Scheduler) evictAll(ctx context.Context, profile *profile, pod *Pod, node string, victims []*Pod) error {
	last := len(victims) - 1
	errs := make([]error, last)
	var running sync.WaitGroup
	for i, v := range victims[:last] {
		running.Go(func() { errs[i] = s.evict(ctx, profile, pod, node, v) })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return s.evict(ctx, profile, pod, node, victims[last])
}

// evict says why a victim has to go, and deletes it. One that is gone already is no error.
func (s *Scheduler) evict(ctx context.Context, profile *profile, pod *Pod, node string, victim *Pod) error {
	note := fmt.Sprintf("Preempted by pod %s on node %s", pod.UID, node)
	if s.hall.preempt(victim.UID) { // it is not bound yet, and looks for another place
		s.tell(profile, victim.Pod, pod.Pod, corev1.EventTypeNormal, "Preempted", "Preempting", note+" (in kube-scheduler memory).")
		return nil
	}
	status := victim.Status.DeepCopy()
	setCondition(status, &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		Reason: corev1.PodReasonPreemptionByScheduler, ObservedGeneration: victim.Generation,
		Message: profile.name + ": preempting to accommodate a higher priority pod"}, metav1.NewTime(s.config.Clock.Now()))
	err := s.patchStatus(ctx, victim.Pod, status)
	if err == nil {
		err = s.config.Client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, metav1.DeleteOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("preempt %s: %w", victim.key(), err)
	}
	s.tell(profile, victim.Pod, pod.Pod, corev1.EventTypeNormal, "Preempted", "Preempting", note)
	return nil
}

// preempted opens the gate. The pod waits on for the last of its victims to be gone, and tries again now if that has been seen
// before, or if something went wrong.
func (s *Scheduler) preempted(pod *Pod, victims []*Pod, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for _, v := range victims {
			delete(s.cluster.leaving, v.UID) // whether it leaves is not known: the informers will tell
		}
	}
	delete(s.preempting, pod.UID)
	w := s.queue.pods[pod.UID]
	if w == nil {
		return
	}
	switch {
	case w.state == gated:
		s.queue.enter(w, byForce)
	case w.state == parked && (err != nil || w.called && s.cluster.allGone(victims)):
		s.queue.requeue(w, byForce)
	}
	s.changed.Signal()
}
