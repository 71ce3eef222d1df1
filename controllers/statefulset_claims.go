package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// A claim outlives its pod, unless the set's retention policy says otherwise: then it is owned by the set, to go with it,
// or by the pod that is scaled away, to go with that.

// claimOwners are the owners that a claim of a pod should have. alien says that another controller has the claim: then the
// policy does not hold for it.
func claimOwners(claim *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, p *corev1.Pod) (owners []metav1.OwnerReference, alien bool) {
	podReference := ownedBy(p, metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"})
	own := []metav1.OwnerReference{setReference(set), podReference}
	for _, r := range claim.OwnerReferences {
		i := slices.IndexFunc(own, func(o metav1.OwnerReference) bool {
			return r.APIVersion == o.APIVersion && r.Kind == o.Kind && r.Name == o.Name
		})
		switch {
		case i < 0:
			owners = append(owners, r)
			alien = alien || ptr.Deref(r.Controller, false)
		case r.UID != own[i].UID:
			return claim.OwnerReferences, false // of one that is gone: the garbage collector sees to it
		}
	}
	policy := retentionOf(set)
	if keepsAll := policy.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType &&
		policy.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType; keepsAll || alien {
		return owners, alien && !keepsAll
	}
	withPod := policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType && !inOrdinals(set, p)
	switch {
	case withPod:
		owners = append(owners, podReference)
	case policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		owners = append(owners, setReference(set))
	}
	return owners, false
}

func retentionOf(set *appsv1.StatefulSet) appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	return ptr.Deref(set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
}

// claimsAreStale reports that a claim belongs to a former pod of that name, with which it is about to go: a new pod has to
// wait for a new claim.
func (x *statefulSets) claimsAreStale(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	if retentionOf(set).WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		return false
	}
	return slices.ContainsFunc(claimsOf(set, p), func(wanted *corev1.PersistentVolumeClaim) bool {
		there, ok := x.claims.cached(KeyOf(wanted)).(*corev1.PersistentVolumeClaim)
		return ok && slices.ContainsFunc(there.OwnerReferences, func(r metav1.OwnerReference) bool {
			return r.APIVersion == "v1" && r.Kind == "Pod" && r.Name == p.Name && r.UID != p.UID
		})
	})
}

// createClaims creates those that are missing.
func (x *statefulSets) createClaims(ctx context.Context, t *Turn, set *appsv1.StatefulSet, p *corev1.Pod) error {
	var errs []error
	for _, wanted := range claimsOf(set, p) {
		if there := x.claims.cached(KeyOf(wanted)); there != nil {
			if there.GetDeletionTimestamp() != nil {
				errs = append(errs, fmt.Errorf("pvc %s is being deleted", wanted.Name))
			}
			continue
		}
		_, err := Create(ctx, t, t.Client.CoreV1().PersistentVolumeClaims(t.Namespace), wanted)
		switch {
		case err == nil:
			t.Event(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", wanted.Name, p.Name, set.Name)
			continue
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return nil // nor will the pod be created
		case !apierrors.IsAlreadyExists(err):
			err = t.Failed(set, err, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %s", wanted.Name, p.Name, set.Name, err)
		}
		errs = append(errs, fmt.Errorf("failed to create PVC %s: %w", wanted.Name, err))
	}
	return errors.Join(errs...)
}

// retainClaims makes the owners of a pod's claims those that the policy wants.
func (x *statefulSets) retainClaims(ctx context.Context, t *Turn, set *appsv1.StatefulSet, p *corev1.Pod) error {
	for _, c := range claimsOf(set, p) {
		there, ok := x.claims.cached(KeyOf(c)).(*corev1.PersistentVolumeClaim)
		if !ok {
			continue // with the next turn
		}
		owners, alien := claimOwners(there, set, p)
		if alien {
			t.Event(set, corev1.EventTypeWarning, "ConflictingController", "PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", c.Name)
		}
		if len(owners)+len(there.OwnerReferences) == 0 || equality.Semantic.DeepEqual(owners, there.OwnerReferences) {
			continue
		}
		changed := there.DeepCopy()
		changed.OwnerReferences = owners
		if _, err := Update(ctx, t, t.Client.CoreV1().PersistentVolumeClaims(t.Namespace), changed); err != nil {
			return fmt.Errorf("could not update claim %s for delete policy ownerRefs: %w", c.Name, err)
		}
	}
	return nil
}
