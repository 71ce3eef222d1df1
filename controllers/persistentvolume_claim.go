package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// claimView is what is known about a claim when it is decided what becomes of it.
type claimView struct {
	claim    *corev1.PersistentVolumeClaim
	named    *corev1.PersistentVolume   // the volume that it names; nil if there is none of that name
	volumes  []*corev1.PersistentVolume // if it names none: those that are for it, and those of its class that are for any
	class    *storagev1.StorageClass    // the one that it names; nil if there is none of that name
	standard *storagev1.StorageClass    // of claims that name none
	waiting  []string                   // pods that use it and have no node yet
}

// claimStep is what becomes of a claim: of the first four, at most one.
type claimStep struct {
	bind  *corev1.PersistentVolume          // it gets this volume
	maker string                            // somebody is asked to make a volume
	class *storagev1.StorageClass           // it gets this class
	phase corev1.PersistentVolumeClaimPhase // it has no volume, and this phase
	// tell is told of it; if it is lost, when it comes to that.
	tell notice
	err  error
}

func normal(reason, format string, args ...any) notice {
	return notice{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) notice {
	return notice{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// planClaim decides what becomes of a claim.
func planClaim(v *claimView) claimStep {
	completed := metav1.HasAnnotation(v.claim.ObjectMeta, storagevolume.AnnBindCompleted)
	switch {
	case completed:
		return planBoundClaim(v)
	case v.claim.Spec.VolumeName != "":
		return planNamingClaim(v)
	}
	return planOpenClaim(v)
}

// planBoundClaim is about a claim that was bound before. Whether its volume is still there, and its own.
func planBoundClaim(v *claimView) claimStep {
	lost := func(reason, message string) claimStep {
		return claimStep{phase: corev1.ClaimLost, tell: warning(reason, "%s", message)}
	}
	switch {
	case v.claim.Spec.VolumeName == "":
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	case v.named == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.named.Spec.ClaimRef == nil, v.named.Spec.ClaimRef.UID == v.claim.UID:
		return claimStep{bind: v.named}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// planNamingClaim is about a claim that names a volume, which it has not got yet.
func planNamingClaim(v *claimView) claimStep {
	switch {
	case v.named == nil:
		return claimStep{phase: corev1.ClaimPending}
	case v.named.Spec.ClaimRef == nil:
		if why := unsuitable(v.named, v.claim); why != "" {
			return claimStep{phase: corev1.ClaimPending, tell: warning("VolumeMismatch", "Cannot bind to requested volume %q: %s", v.named.Name, why)}
		}
		return claimStep{bind: v.named}
	case storagevolume.IsVolumeBoundToClaim(v.named, v.claim):
		return claimStep{bind: v.named}
	}
	step := claimStep{phase: corev1.ClaimPending, tell: warning("FailedBinding", "volume %q already bound to a different claim.", v.named.Name)}
	if metav1.HasAnnotation(v.claim.ObjectMeta, storagevolume.AnnBoundByController) {
		// Somebody has taken away the annotation that the binding was completed.
		step.phase = ""
		step.err = &known{fmt.Errorf("invalid binding of claim %q to volume %q: volume already claimed by %q", KeyOf(v.claim), v.named.Name, claimRefKey(v.named))}
	}
	return step
}

// unsuitable says why a claim cannot have a volume; empty if it can.
func unsuitable(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], volume.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case volume.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", volume.Name)
	case has.Value() < wanted.Value():
		return "requested PV is too small"
	case storagevolume.GetPersistentVolumeClass(volume) != storagevolume.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case ptr.Deref(claim.Spec.VolumeAttributesClassName, "") != ptr.Deref(volume.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	case storagevolume.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec):
		return "incompatible volumeMode"
	case !storagevolume.CheckAccessModes(claim, volume):
		return "incompatible accessMode"
	}
	return ""
}

// planOpenClaim is about a claim that takes any volume that is as it asks.
func planOpenClaim(v *claimView) claimStep {
	delayed := v.class != nil && ptr.Deref(v.class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
	volume, err := bestVolume(v.claim, v.volumes, delayed)
	switch {
	case err != nil:
		return claimStep{err: fmt.Errorf("error finding PV for claim %q: %w", KeyOf(v.claim), err)}
	case volume != nil:
		return claimStep{bind: volume}
	case v.standard != nil && !storagevolume.PersistentVolumeClaimHasClass(v.claim):
		return claimStep{class: v.standard}
	case delayed && !storagevolume.IsDelayBindingProvisioning(v.claim):
		return claimStep{phase: corev1.ClaimPending, tell: awaitedConsumer(v.waiting)}
	case storagevolume.GetPersistentVolumeClaimClass(v.claim) != "":
		return planProvisioning(v)
	}
	return claimStep{phase: corev1.ClaimPending, tell: normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set")}
}

// awaitedConsumer says whom a claim waits for.
func awaitedConsumer(pods []string) notice {
	switch len(pods) {
	case 0:
		return normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case 1:
		return normal("WaitForPodScheduled", "waiting for pod %s to be scheduled", pods[0])
	}
	return normal("WaitForPodScheduled", "waiting for pods %s to be scheduled", strings.Join(pods, ","))
}

// bestVolume is the volume that a claim gets, if there is one: one that is for it already, or else the smallest of those with
// no more access modes than need be. Of a claim whose binding is delayed, only what the scheduler has bound.
func bestVolume(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, delayed bool) (*corev1.PersistentVolume, error) {
	byModes := map[int][]*corev1.PersistentVolume{}
	for _, volume := range volumes {
		if storagevolume.CheckAccessModes(claim, volume) {
			modes := slices.Clone(volume.Spec.AccessModes)
			slices.Sort(modes)
			n := len(slices.Compact(modes))
			byModes[n] = append(byModes[n], volume)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(byModes)) {
		volume, err := storagevolume.FindMatchingVolume(claim, byModes[n], nil, nil, delayed, true)
		if volume != nil || err != nil {
			return volume, err
		}
	}
	return nil, nil
}

// planProvisioning asks for a volume to be made.
func planProvisioning(v *claimView) claimStep {
	name := storagevolume.GetPersistentVolumeClaimClass(v.claim)
	if v.class == nil {
		return claimStep{tell: warning("ProvisioningFailed", "storageclass.storage.k8s.io %q not found", name)}
	}
	maker := v.class.Provisioner
	if driver := migratedTo(maker); driver != "" {
		maker = driver
	} else if strings.HasPrefix(maker, inTree) {
		return planInTree(maker)
	}
	return claimStep{maker: maker, tell: normal("ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' "+
		"or manually by the system administrator. If volume creation is delayed, please verify that "+
		"the provisioner is running and correctly registered.", maker)}
}

// planInTree is about classes of the provisioners that once were in the controllers themselves. None of them still makes
// volumes.
func planInTree(maker string) claimStep {
	failed := func(format string, args ...any) claimStep {
		return claimStep{tell: warning("ProvisioningFailed", format, args...)}
	}
	switch maker {
	case hostPathMaker:
		step := failed("Failed to create provisioner: provisioning in volume plugin %q is disabled", maker)
		step.maker = maker
		return step
	case nfsMaker:
		return failed("no provisionable volume plugin matched")
	}
	return failed("no volume plugin matched name: %s", maker)
}

// boundClaim is a claim that names its volume; nil if it does already.
func boundClaim(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	names := claim.Spec.VolumeName == volume.Name
	if names && metav1.HasAnnotation(claim.ObjectMeta, storagevolume.AnnBindCompleted) {
		return nil
	}
	bound := claim.DeepCopy()
	if !names {
		bound.Spec.VolumeName = volume.Name
		annotateOnce(bound, storagevolume.AnnBoundByController)
	}
	annotateOnce(bound, storagevolume.AnnBindCompleted)
	return bound
}

func annotateOnce(claim *corev1.PersistentVolumeClaim, name string) {
	if !metav1.HasAnnotation(claim.ObjectMeta, name) {
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, name, "yes")
	}
}

// claimStatus is a claim with the status that it has with a volume, or without one; nil if it has it already. Its capacity is
// that of the volume when it is bound, and not later: then it is the business of those who resize.
func claimStatus(claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	is, becomes := &claim.Status, claim.Status.Phase != phase
	wanted := is.DeepCopy()
	wanted.Phase = phase
	if volume == nil {
		wanted.AccessModes, wanted.Capacity, wanted.CurrentVolumeAttributesClassName = nil, nil, nil
		if !becomes && is.AccessModes == nil && is.Capacity == nil && is.CurrentVolumeAttributesClassName == nil {
			return nil, nil
		}
		return withClaimStatus(claim, wanted), nil
	}
	wanted.AccessModes = volume.Spec.AccessModes
	if becomes {
		size, ok := volume.Spec.Capacity[corev1.ResourceStorage]
		if !ok {
			return nil, fmt.Errorf("PersistentVolume %q is without a storage capacity", volume.Name)
		}
		if has, ok := is.Capacity[corev1.ResourceStorage]; !ok || has.Cmp(size) != 0 {
			wanted.Capacity = volume.Spec.Capacity
		}
		if is.Phase == corev1.ClaimPending && phase == corev1.ClaimBound {
			wanted.CurrentVolumeAttributesClassName = volume.Spec.VolumeAttributesClassName
		}
	}
	if !becomes && slices.Equal(is.AccessModes, volume.Spec.AccessModes) {
		return nil, nil
	}
	return withClaimStatus(claim, wanted), nil
}

func withClaimStatus(claim *corev1.PersistentVolumeClaim, status *corev1.PersistentVolumeClaimStatus) *corev1.PersistentVolumeClaim {
	changed := *claim
	changed.Status = *status
	return &changed
}

func (x *volumeBinder) reconcileClaim(ctx context.Context, t *Turn) error {
	claim, _ := x.claims.cached(t.Key).(*corev1.PersistentVolumeClaim)
	if claim == nil {
		return nil
	}
	client := t.Client.CoreV1().PersistentVolumeClaims(claim.Namespace)
	if moved := migratedClaim(claim); moved != nil {
		_, err := Update(ctx, t, client, moved)
		return err
	}
	v, err := x.viewClaim(ctx, t, claim)
	if err != nil {
		return err
	}
	step := planClaim(v)
	switch {
	case step.bind != nil:
		return x.bind(ctx, t, claim, step.bind)
	case step.class != nil:
		changed := claim.DeepCopy()
		changed.Spec.StorageClassName = &step.class.Name
		_, err := Update(ctx, t, client, changed)
		return err
	case step.maker != "":
		if asked := askingClaim(claim, step.maker); asked != nil {
			if _, err := Update(ctx, t, client, asked); err != nil {
				return err
			}
		}
	case step.phase == corev1.ClaimLost:
		if claim.Status.Phase == corev1.ClaimLost {
			return nil
		}
		if claim, err = x.setClaimStatus(ctx, t, claim, step.phase, nil); err == nil {
			t.Event(claim, step.tell.kind, step.tell.reason, "%s", step.tell.message)
		}
		return err
	case step.phase != "":
		if _, err := x.setClaimStatus(ctx, t, claim, step.phase, nil); err != nil {
			return err
		}
	}
	x.post(t, claim, step.tell)
	return step.err
}

func (x *volumeBinder) viewClaim(ctx context.Context, t *Turn, claim *corev1.PersistentVolumeClaim) (*claimView, error) {
	v := &claimView{claim: claim}
	if name := claim.Spec.VolumeName; name != "" {
		var err error
		v.named, err = x.volume(ctx, t, name)
		return v, err
	}
	class := storagevolume.GetPersistentVolumeClaimClass(claim)
	v.volumes = append(volumesFor(x.volumes, t.Key), freeVolumes(x.volumes, class)...)
	v.class, _ = x.classes.cached(Key{Name: class}).(*storagev1.StorageClass)
	v.standard = x.defaultClass()
	for _, pod := range podsWithClaim(x.pods, t.Key) {
		if pod.Spec.NodeName == "" && !podTerminated(pod) {
			v.waiting = append(v.waiting, pod.Name)
		}
	}
	slices.Sort(v.waiting)
	return v, nil
}
