package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// ephemeralVolumes promises that a pod's generic ephemeral volumes have claims of their own, which go with the pod: the
// garbage collector sees to that, by their owner. A claim that somebody deletes under a pod is made again.
//
// The subtle case is a claim of that name that is not the pod's: it is not touched, and the pod waits.
type ephemeralVolumes struct{ pods, claims *Source }

func ephemeralVolumeLoop(c *Config) Loop {
	x := &ephemeralVolumes{c.Source(&corev1.Pod{}), c.Source(&corev1.PersistentVolumeClaim{})}
	return Loop{Watches: []Watch{{x.pods, newWithEphemeral}, {x.claims, x.missing}}, Reconcile: x.reconcile}
}

func newWithEphemeral(old, now metav1.Object) []Key {
	if old != nil || !wantsEphemeral(now.(*corev1.Pod)) {
		return nil
	}
	return []Key{KeyOf(now)}
}

// missing are the pods that have lost a claim.
func (x *ephemeralVolumes) missing(old, now metav1.Object) (keys []Key) {
	if now != nil {
		return nil
	}
	for _, pod := range podsWithClaim(x.pods, KeyOf(old)) {
		if wantsEphemeral(pod) {
			keys = append(keys, KeyOf(pod))
		}
	}
	return keys
}

func wantsEphemeral(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			return pod.DeletionTimestamp == nil
		}
	}
	return false
}

func (x *ephemeralVolumes) reconcile(ctx context.Context, t *Turn) error {
	pod, _ := x.pods.cached(t.Key).(*corev1.Pod)
	if pod == nil || !wantsEphemeral(pod) {
		return nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil {
			continue
		}
		if err := x.claim(ctx, t, pod, v); inGoingNamespace(err) {
			return nil
		} else if err != nil {
			return t.Failed(pod, err, "FailedBinding", "ephemeral volume %s: %v", v.Name, err)
		}
	}
	return nil
}

func (x *ephemeralVolumes) claim(ctx context.Context, t *Turn, pod *corev1.Pod, v *corev1.Volume) error {
	wanted := ephemeralClaim(pod, v)
	if there, ok := x.claims.cached(KeyOf(wanted)).(*corev1.PersistentVolumeClaim); ok {
		return ephemeral.VolumeIsForPod(pod, there)
	}
	if _, err := Create(ctx, t, t.Client.CoreV1().PersistentVolumeClaims(t.Namespace), wanted); err != nil {
		return fmt.Errorf("create PVC %s: %w", wanted.Name, err)
	}
	return nil
}

// ephemeralClaim is the claim of a pod's volume.
func ephemeralClaim(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	template := v.Ephemeral.VolumeClaimTemplate.DeepCopy()
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: ephemeral.VolumeClaimName(pod, v), Annotations: template.Annotations, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{ownedBy(pod, metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"})}},
		Spec: template.Spec,
	}
}
