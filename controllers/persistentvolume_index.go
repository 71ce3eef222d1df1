package controllers

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// claimIndex finds the pods that use a claim, and the volumes that are for it, by its key. Volumes that are for any claim are
// found by their class.
const claimIndex = "claim"

func claimsOfPod(o any) (keys []string, _ error) {
	pod := o.(*corev1.Pod)
	for _, name := range claimNames(pod) {
		keys = append(keys, Key{pod.Namespace, name}.String())
	}
	return keys, nil
}

func claimOfVolume(o any) ([]string, error) {
	volume := o.(*corev1.PersistentVolume)
	if of := volume.Spec.ClaimRef; of != nil {
		return []string{Key{of.Namespace, of.Name}.String()}, nil
	}
	return []string{"class " + storagevolume.GetPersistentVolumeClass(volume)}, nil
}

// podsWithClaim are the pods that use a claim.
func podsWithClaim(pods *Source, claim Key) []*corev1.Pod {
	return indexed[*corev1.Pod](pods, claimIndex, claim.String())
}

// volumesFor are the volumes that are for a claim, whether it knows or not.
func volumesFor(volumes *Source, claim Key) []*corev1.PersistentVolume {
	return indexed[*corev1.PersistentVolume](volumes, claimIndex, claim.String())
}

// freeVolumes are the volumes of a class that are for any claim.
func freeVolumes(volumes *Source, class string) []*corev1.PersistentVolume {
	return indexed[*corev1.PersistentVolume](volumes, claimIndex, "class "+class)
}

// expectedIndex finds claims by the volume that they name, and those that name none by the class that it has to be of.
const expectedIndex = "expected"

func expectedVolume(o any) ([]string, error) {
	claim := o.(*corev1.PersistentVolumeClaim)
	if claim.Spec.VolumeName != "" {
		return []string{"volume " + claim.Spec.VolumeName}, nil
	}
	return []string{"class " + storagevolume.GetPersistentVolumeClaimClass(claim)}, nil
}

// claimsNaming are the claims that name a volume.
func claimsNaming(claims *Source, volume string) []*corev1.PersistentVolumeClaim {
	return indexed[*corev1.PersistentVolumeClaim](claims, expectedIndex, "volume "+volume)
}

// claimsWanting are the claims that take any volume of a class.
func claimsWanting(claims *Source, class string) []*corev1.PersistentVolumeClaim {
	return indexed[*corev1.PersistentVolumeClaim](claims, expectedIndex, "class "+class)
}

// keysOf are the keys of objects.
func keysOf[T metav1.Object](objects []T) (keys []Key) {
	for _, o := range objects {
		keys = append(keys, KeyOf(o))
	}
	return keys
}
