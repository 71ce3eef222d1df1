package controllers

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// replicationControllerLoop promises of ReplicationControllers what replicaSets does of ReplicaSets.
func replicationControllerLoop(c *Config) Loop {
	return replicasOfKind(c, replicaKind{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ReplicationController"},
		source: c.Source(&corev1.ReplicationController{}),
		view:   func(o metav1.Object) *appsv1.ReplicaSet { return replicaSetOf(o.(*corev1.ReplicationController)) },
		fresh: func(ctx context.Context, t *Turn) (metav1.Object, error) {
			return t.Client.CoreV1().ReplicationControllers(t.Namespace).Get(ctx, t.Name, metav1.GetOptions{})
		},
		tell: func(ctx context.Context, t *Turn, o metav1.Object, status appsv1.ReplicaSetStatus) error {
			changed := *o.(*corev1.ReplicationController)
			changed.Status = replicationStatusOf(status)
			_, err := UpdateStatus(ctx, t, t.Client.CoreV1().ReplicationControllers(t.Namespace), &changed)
			return err
		},
		dropsGoing: true,
	})
}

// replicaSetOf is the ReplicaSet that a ReplicationController would be. It shares what it can.
func replicaSetOf(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	s := rc.Status
	return &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}, Template: ptr.Deref(rc.Spec.Template, corev1.PodTemplateSpec{})},
		Status: appsv1.ReplicaSetStatus{Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
			AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
			Conditions: eachAs(s.Conditions, func(c corev1.ReplicationControllerCondition) appsv1.ReplicaSetCondition {
				return appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
					LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message}
			})},
	}
}

// replicationStatusOf is the way back.
func replicationStatusOf(s appsv1.ReplicaSetStatus) corev1.ReplicationControllerStatus {
	return corev1.ReplicationControllerStatus{Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
		AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
		Conditions: eachAs(s.Conditions, func(c appsv1.ReplicaSetCondition) corev1.ReplicationControllerCondition {
			return corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message}
		})}
}

// eachAs makes another of each.
func eachAs[A, B any](from []A, as func(A) B) []B {
	if from == nil {
		return nil
	}
	to := make([]B, len(from))
	for i := range from {
		to[i] = as(from[i])
	}
	return to
}
