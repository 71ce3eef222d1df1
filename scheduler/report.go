package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/util/retry"
)

// noteLimit is how long the note of an event may be.
const noteLimit = 1024

// report writes why a pod has no node: an event, and the pod's condition and nomination (which is left alone if
// nominated is nil). It goes on in the background; what is written about the pod later waits for it.
func (s *Scheduler) report(ctx context.Context, w *Waiting, reason, message string, nominated *string) {
	pod, profile := w.Pod.Pod, w.profile
	before, done := w.reported, make(chan struct{})
	w.reported = done
	condition := &corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: pod.Generation}
	now := metav1.NewTime(s.config.Clock.Now())
	s.background.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		s.lane <- struct{}{}
		defer func() { <-s.lane }()
		s.tell(profile, pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", shortened(message))
		status := pod.Status.DeepCopy()
		setCondition(status, condition, now)
		if nominated != nil {
			status.NominatedNodeName = *nominated
		}
		if err := s.patchStatus(ctx, pod, status); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.config.Log.Warn("the status of a pod is not written", "err", err)
		}
	})
}

// shortened cuts a note that is too long.
func shortened(note string) string {
	const suffix = " ..."
	if len(note) <= noteLimit {
		return note
	}
	return note[:noteLimit-len(suffix)] + suffix
}

// setCondition puts a condition among a pod's. The time of the last transition stays if the status does.
func setCondition(status *corev1.PodStatus, condition *corev1.PodCondition, now metav1.Time) {
	condition.LastTransitionTime = now
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		*old = *condition
		return
	}
	status.Conditions = append(status.Conditions, *condition)
}

// patchStatus writes what differs from the pod's status; nothing if nothing does.
func (s *Scheduler) patchStatus(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) error {
	before, err := json.Marshal(corev1.Pod{Status: pod.Status})
	if err != nil {
		return err
	}
	after, err := json.Marshal(corev1.Pod{Status: *status})
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, &corev1.Pod{})
	if err != nil || string(patch) == "{}" {
		return err
	}
	err = retry.OnError(retry.DefaultBackoff, isPassing, func() error {
		_, err := s.config.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch,
			metav1.PatchOptions{}, "status")
		return err
	})
	if err != nil {
		return fmt.Errorf("patch the status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// isPassing reports that trying again may help.
func isPassing(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsConflict(err) ||
		utilnet.IsConnectionRefused(err)
}

// tell makes an event about a pod, under the scheduler's name.
func (s *Scheduler) tell(p *profile, about, related runtime.Object, kind, reason, action, note string) {
	p.events.Eventf(about, related, kind, reason, action, "%s", note)
}
