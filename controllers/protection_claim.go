package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// claimProtection promises that a claim stays while pods that have a node use it: their node may be mounting it. A pod
// without a node does not hold it, since no node begins a pod whose claim is going.
//
// The subtle case is a pod that the cache does not show yet, so the API is asked before a claim is let go: once for all the
// claims of a namespace that are going, which is why keys are namespaces.
type claimProtection struct{ claims, pods *Source }

func claimProtectionLoop(c *Config) Loop {
	x := &claimProtection{c.Source(&corev1.PersistentVolumeClaim{}), c.Source(&corev1.Pod{})}
	return Loop{Watches: []Watch{{x.claims, x.changed}, {x.pods, x.released}}, Reconcile: x.reconcile}
}

func (x *claimProtection) changed(old, now metav1.Object) []Key {
	if len(ofConcern(claimProtected)(old, now)) == 0 {
		return nil
	}
	return []Key{{Namespace: now.GetNamespace()}}
}

// released is the namespace of a pod that has just let go of a claim that is going.
func (x *claimProtection) released(old, now metav1.Object) []Key {
	for _, o := range []metav1.Object{old, now} {
		pod, _ := o.(*corev1.Pod)
		if pod == nil || o == old && now != nil && now.GetUID() == old.GetUID() || o == now && !outOfTime(pod) {
			continue
		}
		for _, name := range claimNames(pod) {
			if claim := x.claims.cached(Key{pod.Namespace, name}); claim != nil && held(claim, claimProtected) {
				return []Key{{Namespace: pod.Namespace}}
			}
		}
	}
	return nil
}

func (x *claimProtection) reconcile(ctx context.Context, t *Turn) error {
	var live []corev1.Pod
	asked := false
	ask := func() ([]corev1.Pod, error) {
		if !asked {
			list, err := t.Client.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("live list of pods failed: %w", err)
			}
			live, asked = list.Items, true
		}
		return live, nil
	}
	var errs []error
	client := t.Client.CoreV1().PersistentVolumeClaims(t.Namespace)
	for _, o := range x.claims.all(t.Namespace) {
		claim := o.(*corev1.PersistentVolumeClaim)
		errs = append(errs, protect(ctx, t, client, claim, claimProtected, func() (bool, error) {
			for _, pod := range podsWithClaim(x.pods, KeyOf(claim)) {
				if holdsClaim(pod, claim) {
					return true, nil
				}
			}
			pods, err := ask()
			for i := range pods {
				if holdsClaim(&pods[i], claim) {
					return true, nil
				}
			}
			return false, err
		}))
	}
	return errors.Join(errs...)
}

// holdsClaim reports that a pod's node may be using a claim.
func holdsClaim(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name:
			return true
		// The node is done with a pod that has no time left. It may be waiting for a finalizer of its own, which waits for the claim.
		case v.Ephemeral != nil && !outOfTime(pod) && ephemeral.VolumeClaimName(pod, v) == claim.Name && ephemeral.VolumeIsForPod(pod, claim) == nil:
			return true
		}
	}
	return false
}

// outOfTime reports that a pod's node is done with it, or that it was deleted by force.
func outOfTime(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
}

// podTerminated reports that a pod has no container that runs, nor will have.
func podTerminated(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	for _, of := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, s := range of {
			if s.State.Terminated == nil && s.State.Waiting == nil {
				return false
			}
		}
	}
	return pod.DeletionTimestamp != nil
}

// claimNames are the claims of a pod's volumes, also those that are made for it.
func claimNames(pod *corev1.Pod) (names []string) {
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, ephemeral.VolumeClaimName(pod, v))
		}
	}
	return names
}
