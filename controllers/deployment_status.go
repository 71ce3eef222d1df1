package controllers

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the condition Progressing on which decisions depend.
const (
	reasonComplete = "NewReplicaSetAvailable"
	reasonTimedOut = "ProgressDeadlineExceeded"
	reasonPaused   = "DeploymentPaused"
	reasonResumed  = "DeploymentResumed"
)

func hasProgressDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func deploymentCondition(d *appsv1.Deployment, of appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	i := slices.IndexFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == of })
	if i < 0 {
		return nil
	}
	return &d.Status.Conditions[i]
}

// setDeploymentCondition sets a condition, as the last. One that has the status and the reason already stays as it is.
func setDeploymentCondition(s *appsv1.DeploymentStatus, of appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	c := appsv1.DeploymentCondition{Type: of, Status: status, Reason: reason, Message: message,
		LastUpdateTime: metav1.Time{Time: now}, LastTransitionTime: metav1.Time{Time: now}}
	if i := slices.IndexFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == of }); i >= 0 {
		before := s.Conditions[i]
		if before.Status == status && before.Reason == reason {
			return
		}
		if before.Status == status {
			c.LastTransitionTime = before.LastTransitionTime
		}
		s.Conditions = slices.Delete(s.Conditions, i, i+1)
	}
	s.Conditions = append(s.Conditions, c)
}

func dropDeploymentCondition(s *appsv1.DeploymentStatus, of appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == of })
}

func (o *rollout) condition(of appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	setDeploymentCondition(&o.d.Status, of, status, reason, message, o.now)
}

// notePause stops the clock of the deadline while the deployment is paused, and starts it anew afterwards. A deadline that
// has passed stays so.
func (o *rollout) notePause() {
	if !hasProgressDeadline(o.d) {
		return
	}
	c := deploymentCondition(o.d, appsv1.DeploymentProgressing)
	noted := c != nil && c.Reason == reasonPaused
	switch {
	case c != nil && c.Reason == reasonTimedOut:
	case o.d.Spec.Paused && !noted:
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !o.d.Spec.Paused && noted:
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// observe counts pods, and says whether enough of them are available.
func (o *rollout) observe() {
	all, s := o.all(), &o.d.Status
	s.ObservedGeneration = o.d.Generation
	s.Replicas = sum(all, replicasOf)
	s.UpdatedReplicas = 0
	if o.current != nil {
		s.UpdatedReplicas = o.current.Status.Replicas
	}
	s.ReadyReplicas = sum(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas })
	s.AvailableReplicas = sum(all, availableOf)
	s.UnavailableReplicas = max(0, sum(all, sizeOf)-s.AvailableReplicas)
	s.TerminatingReplicas = terminatingOf(all)
	if _, unavailable := deploymentLimits(o.d); s.AvailableReplicas >= o.wanted()-unavailable {
		o.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		o.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
}

// terminatingOf adds up the pods that are going. It is unknown if one of the ReplicaSets has been looked at by somebody
// who does not count them.
func terminatingOf(sets []*appsv1.ReplicaSet) *int32 {
	n := int32(0)
	for _, rs := range sets {
		if rs.Status.TerminatingReplicas == nil && rs.Status.ObservedGeneration != 0 {
			return nil
		}
		n += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	return &n
}

// deploymentComplete reports that a deployment says of itself that all its pods are of the current template and available.
func deploymentComplete(d *appsv1.Deployment) bool {
	size, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	return s.UpdatedReplicas == size && s.Replicas == size && s.AvailableReplicas == size && s.ObservedGeneration >= d.Generation
}

// progress observes, and says how the rollout goes on: complete, nearer to it than before, or too long without a step.
func (o *rollout) progress() {
	before := deploymentCondition(o.d, appsv1.DeploymentProgressing)
	if before != nil {
		before = ptr.To(*before)
	}
	earlier := o.d.Status
	o.observe()
	defer o.reportFailures() // the last of the conditions
	if !hasProgressDeadline(o.d) {
		dropDeploymentCondition(&o.d.Status, appsv1.DeploymentProgressing)
		return
	}
	if o.d.Status.Replicas == o.d.Status.UpdatedReplicas && before != nil && before.Reason == reasonComplete {
		return // it was complete: pods that come and go now are no rollout
	}
	who := fmt.Sprintf("Deployment %q", o.d.Name)
	if o.current != nil {
		who = fmt.Sprintf("ReplicaSet %q", o.current.Name)
	}
	switch {
	case deploymentComplete(o.d):
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, who+" has successfully progressed.")
	case isNearer(earlier, o.d.Status):
		o.noteProgress(before, who+" is progressing.")
	case deadlinePassed(o.d, o.now):
		o.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, who+" has timed out progressing.")
	}
}

// noteProgress starts the clock of the deadline anew, even if the last that was noted was progress too.
func (o *rollout) noteProgress(before *appsv1.DeploymentCondition, message string) {
	dropDeploymentCondition(&o.d.Status, appsv1.DeploymentProgressing)
	o.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", message)
	if before != nil && before.Status == corev1.ConditionTrue {
		deploymentCondition(o.d, appsv1.DeploymentProgressing).LastTransitionTime = before.LastTransitionTime
	}
}

// isNearer reports a step of a rollout: more pods that are current, ready or available, or fewer that are old.
func isNearer(before, now appsv1.DeploymentStatus) bool {
	return now.UpdatedReplicas > before.UpdatedReplicas || now.Replicas-now.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		now.ReadyReplicas > before.ReadyReplicas || now.AvailableReplicas > before.AvailableReplicas
}

// deadlinePassed reports that nothing has happened for as long as the deployment allows.
func deadlinePassed(d *appsv1.Deployment, now time.Time) bool {
	c := deploymentCondition(d, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonComplete:
		return false
	case c.Reason == reasonTimedOut:
		return true
	}
	return deadlineOf(d, c).Before(now)
}

func deadlineOf(d *appsv1.Deployment, c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// deploymentDeadline is when to look again if nothing happens until then; zero is never. Times in the API are of whole
// seconds, so that it is one later.
func deploymentDeadline(d *appsv1.Deployment, now time.Time) time.Duration {
	c := deploymentCondition(d, appsv1.DeploymentProgressing)
	if !hasProgressDeadline(d) || c == nil || d.Spec.Paused || deploymentComplete(d) || c.Reason == reasonTimedOut || c.Reason == reasonComplete {
		return 0
	}
	return max(0, deadlineOf(d, c).Sub(now)) + time.Second
}

// reportFailures hands on what keeps a ReplicaSet from creating or deleting pods, the current one's first.
func (o *rollout) reportFailures() {
	sets := slices.Clone(o.old)
	if o.current != nil {
		sets = append([]*appsv1.ReplicaSet{o.current}, sets...)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				o.handOn(c)
				return
			}
		}
	}
	dropDeploymentCondition(&o.d.Status, appsv1.DeploymentReplicaFailure)
}

func (o *rollout) handOn(c appsv1.ReplicaSetCondition) {
	setDeploymentCondition(&o.d.Status, appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message, c.LastTransitionTime.Time)
}
