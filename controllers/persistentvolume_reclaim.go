package controllers

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// volumeStep is what becomes of a volume.
type volumeStep struct {
	phase   corev1.PersistentVolumePhase // that it is in; empty: the one that it is in
	unbind  bool                         // it is no longer for its claim
	reclaim bool                         // its policy is carried out
	claim   bool                         // its claim has to be looked at
	// mismatch: neither can have the other, because one is a block device and the other is not.
	mismatch bool
}

// planVolume decides what becomes of a volume. claim is the one that it is for, by UID; nil if that is gone.
func planVolume(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) volumeStep {
	released := volumeStep{phase: corev1.VolumeReleased, reclaim: true}
	if volume.Status.Phase == corev1.VolumeFailed {
		released.phase = "" // so that people see that something went wrong
	}
	switch {
	case volume.Spec.ClaimRef == nil, volume.Spec.ClaimRef.UID == "":
		return volumeStep{phase: corev1.VolumeAvailable}
	case claim == nil:
		return released
	case claim.Spec.VolumeName == "" && storagevolume.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec):
		return volumeStep{mismatch: true}
	case claim.Spec.VolumeName == "":
		return volumeStep{claim: true}
	case claim.Spec.VolumeName == volume.Name:
		return volumeStep{phase: corev1.VolumeBound}
	// The claim has another volume. One that was made for it alone is of no use to anybody.
	case metav1.HasAnnotation(volume.ObjectMeta, storagevolume.AnnDynamicallyProvisioned) && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return released
	}
	return volumeStep{unbind: true}
}

func (x *volumeBinder) reconcileVolume(ctx context.Context, t *Turn) error {
	volume, _ := x.volumes.cached(t.Key).(*corev1.PersistentVolume)
	if volume == nil {
		return nil
	}
	if moved := migratedVolume(volume); moved != nil {
		_, err := Update(ctx, t, t.Client.CoreV1().PersistentVolumes(), moved)
		return err
	}
	claim, err := x.claimOf(ctx, t, volume)
	if err != nil {
		return err
	}
	step := planVolume(volume, claim)
	if step.phase != "" {
		if volume, err = x.setVolumePhase(ctx, t, volume, step.phase, ""); err != nil {
			return goneAlready(err)
		}
	}
	switch {
	case step.unbind:
		return x.unbind(ctx, t, volume)
	case step.reclaim:
		return x.reclaim(ctx, t, volume)
	case step.claim:
		t.Wake(KeyOf(claim))
	case step.mismatch:
		x.post(t, volume, warning("VolumeMismatch", "Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name))
		x.post(t, claim, warning("VolumeMismatch", "Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", volume.Name))
	}
	return nil
}

// claimOf is the claim that a volume is for; nil if it is gone. The API is asked about one that the cache does not have: a
// volume must not be reclaimed because its claim was made a moment ago.
func (x *volumeBinder) claimOf(ctx context.Context, t *Turn, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	of := volume.Spec.ClaimRef
	if of == nil || of.UID == "" {
		return nil, nil
	}
	claim, there := x.claims.cached(claimRefKey(volume)).(*corev1.PersistentVolumeClaim)
	switch reclaimed := volume.Status.Phase == corev1.VolumeReleased || volume.Status.Phase == corev1.VolumeFailed; {
	case there && claim.UID == of.UID:
		return claim, nil
	case !there && reclaimed:
		return nil, nil
	}
	claim, err := t.Client.CoreV1().PersistentVolumeClaims(of.Namespace).Get(ctx, of.Name, metav1.GetOptions{})
	if err != nil || claim.UID != of.UID {
		return nil, goneAlready(err)
	}
	return claim, nil
}

// unbind takes back that a volume is for a claim: as a whole if that was decided here, else so that it is for the claim of
// that name again, which the person who said so may mean.
func (x *volumeBinder) unbind(ctx context.Context, t *Turn, volume *corev1.PersistentVolume) error {
	changed, err := Update(ctx, t, t.Client.CoreV1().PersistentVolumes(), unboundVolume(volume))
	if err != nil {
		return err
	}
	_, err = x.setVolumePhase(ctx, t, changed, corev1.VolumeAvailable, "")
	return err
}

func unboundVolume(volume *corev1.PersistentVolume) *corev1.PersistentVolume {
	changed := volume.DeepCopy()
	if metav1.HasAnnotation(volume.ObjectMeta, storagevolume.AnnBoundByController) {
		changed.Spec.ClaimRef = nil
		delete(changed.Annotations, storagevolume.AnnBoundByController)
	} else {
		changed.Spec.ClaimRef.UID = ""
	}
	return changed
}

// reclaim carries out the policy of a volume whose claim is gone.
func (x *volumeBinder) reclaim(ctx context.Context, t *Turn, volume *corev1.PersistentVolume) error {
	if volume.Annotations[storagevolume.AnnMigratedTo] != "" {
		return nil // its driver's business
	}
	switch volume.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return nil
	case corev1.PersistentVolumeReclaimRecycle:
		return x.recycle(ctx, t, volume)
	case corev1.PersistentVolumeReclaimDelete:
		return x.delete(ctx, t, volume)
	}
	return x.fail(ctx, t, volume, warning("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy"))
}

// fail marks a volume as Failed and says why, once.
func (x *volumeBinder) fail(ctx context.Context, t *Turn, volume *corev1.PersistentVolume, why notice) error {
	if volume.Status.Phase == corev1.VolumeFailed {
		return nil
	}
	changed, err := x.setVolumePhase(ctx, t, volume, corev1.VolumeFailed, why.message)
	if err == nil {
		t.Event(changed, why.kind, why.reason, "%s", why.message)
	}
	return err
}

// delete deletes what a volume stands for, and then the volume.
func (x *volumeBinder) delete(ctx context.Context, t *Turn, volume *corev1.PersistentVolume) error {
	if others, problem := deleterOf(volume); problem != "" {
		return x.fail(ctx, t, volume, warning("VolumeFailedDelete", "%s", problem))
	} else if others {
		return nil
	}
	// What cannot be undone is decided by what the API says now.
	client := t.Client.CoreV1().PersistentVolumes()
	now, err := client.Get(ctx, volume.Name, metav1.GetOptions{})
	if err != nil || now.UID != volume.UID || now.Spec.ClaimRef == nil || now.Spec.ClaimRef.UID != volume.Spec.ClaimRef.UID {
		return goneAlready(err)
	}
	if err := deleteFolder(now.Spec.HostPath.Path); err != nil {
		t.Again(storageRetry)
		return x.fail(ctx, t, now, warning("VolumeFailedDelete", "%v", err))
	}
	if slices.Contains(now.Finalizers, storagevolume.PVDeletionInTreeProtectionFinalizer) {
		if now, err = Update(ctx, t, client, withFinalizer(now, storagevolume.PVDeletionInTreeProtectionFinalizer, false)); err != nil {
			return goneAlready(err)
		}
	}
	return Delete(ctx, t, client, now, metav1.DeleteOptions{})
}

// deleterOf says who deletes what a volume stands for: others, or, of a folder of a machine, this controller. problem is why
// nobody does.
func deleterOf(volume *corev1.PersistentVolume) (others bool, problem string) {
	const folder = "spec.PersistentVolumeSource.HostPath is nil"
	switch maker := volume.Annotations[storagevolume.AnnDynamicallyProvisioned]; {
	case maker == hostPathMaker && volume.Spec.HostPath == nil:
		return false, fmt.Sprintf("failed to create deleter for volume %q: %s", volume.Name, folder)
	case maker == hostPathMaker:
		return false, ""
	case maker == nfsMaker:
		return false, "no deletable volume plugin matched"
	case strings.HasPrefix(maker, inTree):
		return false, "no volume plugin matched name: " + maker
	case maker != "", volume.Spec.CSI != nil:
		return true, ""
	case volume.Spec.HostPath != nil:
		return false, ""
	case volume.Spec.NFS != nil:
		return false, fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", volume.Name)
	}
	return false, fmt.Sprintf("error getting deleter volume plugin for volume %q: no volume plugin matched", volume.Name)
}

// deleteFolder deletes a folder of this machine, if it is one that nobody would miss: this is for trying things out.
func deleteFolder(path string) error {
	if clean := filepath.Clean(path); !strings.HasPrefix(clean, "/tmp/") {
		return fmt.Errorf("host_path deleter only supports /tmp/.+ but received provided %s", path)
	}
	return os.RemoveAll(path)
}

// scrubbing is how the emptying of a volume goes.
type scrubbing struct {
	pod   types.UID // that does it; empty if none does
	later time.Time // no other before, since one has failed
}

// recycle empties a volume, by a pod that deletes what is in it, and makes it available again.
func (x *volumeBinder) recycle(ctx context.Context, t *Turn, volume *corev1.PersistentVolume) error {
	if volume.Spec.HostPath == nil && volume.Spec.NFS == nil {
		return x.fail(ctx, t, volume, warning(failedRecycle, "No recycler plugin found for the volume!"))
	}
	if users := x.users(volume); len(users) > 0 && x.claims.cached(claimRefKey(volume)) == nil {
		t.Again(storageRetry)
		x.post(t, volume, normal(failedRecycle, "Volume is used by pods: %s", strings.Join(users, ",")))
		return nil
	}
	x.mu.Lock()
	is := x.scrubbing[volume.UID]
	x.mu.Unlock()
	wanted := scrubberOf(volume)
	pod, there := x.pods.cached(KeyOf(wanted)).(*corev1.Pod)
	pods := t.Client.CoreV1().Pods(scrubberNamespace)
	switch {
	case !there && is.later.After(t.Now):
		t.Again(is.later.Sub(t.Now))
		return nil
	case !there:
		made, err := Create(ctx, t, pods, wanted)
		if err != nil {
			return x.notRecycled(ctx, t, volume, fmt.Sprintf("unexpected error creating recycler pod:  %+v", err))
		}
		x.scrubs(volume, scrubbing{pod: made.UID})
		return nil
	case pod.DeletionTimestamp != nil:
		return nil
	case pod.UID == is.pod && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed:
		return nil
	}
	if err := Delete(ctx, t, pods, pod, metav1.DeleteOptions{}); err != nil {
		return err
	}
	switch {
	case pod.UID != is.pod: // of a former controller, or of somebody who wants the volume to be taken for empty
		return nil
	case pod.Status.Phase == corev1.PodSucceeded:
		t.Event(volume, corev1.EventTypeNormal, "VolumeRecycled", "Volume recycled")
		return x.unbind(ctx, t, volume)
	}
	return x.notRecycled(ctx, t, volume, "failed to recycle volume: "+cmp.Or(pod.Status.Message, "pod failed, pod.Status.Message unknown"))
}

func (x *volumeBinder) notRecycled(ctx context.Context, t *Turn, volume *corev1.PersistentVolume, why string) error {
	x.scrubs(volume, scrubbing{later: t.Now.Add(storageRetry)})
	t.Again(storageRetry)
	return x.fail(ctx, t, volume, warning(failedRecycle, "Recycle failed: %s", why))
}

func (x *volumeBinder) scrubs(volume *corev1.PersistentVolume, s scrubbing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.scrubbing[volume.UID] = s
}

// users are the pods that are not done yet with the claim that a volume was for.
func (x *volumeBinder) users(volume *corev1.PersistentVolume) (names []string) {
	for _, pod := range podsWithClaim(x.pods, claimRefKey(volume)) {
		if !podTerminated(pod) {
			names = append(names, KeyOf(pod).String())
		}
	}
	slices.Sort(names)
	return names
}

const (
	scrubberNamespace = metav1.NamespaceDefault
	scrubberPrefix    = "recycler-for-"
	failedRecycle     = "VolumeFailedRecycle"
	// So many seconds a volume has to be emptied at least, one on a network more.
	scrubSeconds, scrubSecondsNetwork, scrubSecondsPerGiB = 60, 300, 30
)

// scrubbed is the volume that a pod empties; false if it is no such pod.
func scrubbed(pod Key) (volume string, ok bool) {
	if pod.Namespace != scrubberNamespace {
		return "", false
	}
	return strings.CutPrefix(pod.Name, scrubberPrefix)
}

// scrubberOf is the pod that empties a volume.
func scrubberOf(volume *corev1.PersistentVolume) *corev1.Pod {
	source, least := corev1.VolumeSource{NFS: volume.Spec.NFS}, int64(scrubSecondsNetwork)
	if volume.Spec.HostPath != nil {
		least = scrubSeconds
		source = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: volume.Spec.HostPath.Path}}
	}
	seconds := max(least, volume.Spec.Capacity.Storage().Value()>>30*scrubSecondsPerGiB)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: scrubberNamespace, Name: scrubberPrefix + volume.Name},
		Spec: corev1.PodSpec{ActiveDeadlineSeconds: &seconds, RestartPolicy: corev1.RestartPolicyNever,
			Volumes: []corev1.Volume{{Name: "vol", VolumeSource: source}},
			Containers: []corev1.Container{{Name: "pv-recycler", Image: "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6", Command: []string{"/bin/sh"},
				Args:         []string{"-c", `test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1`},
				VolumeMounts: []corev1.VolumeMount{{Name: "vol", MountPath: "/scrub"}}}}},
	}
}
