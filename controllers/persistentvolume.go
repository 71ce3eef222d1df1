package controllers

import (
	"cmp"
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// volumeBinder promises that each claim gets a volume that is as it asks, and no other claim gets that volume: the smallest
// that is there, or one that somebody makes for it; and that a volume whose claim is gone is dealt with as its reclaim
// policy says.
//
// A claim and a volume are bound when each names the other, the volume with the UID of the claim, and both say so in their
// phases. That takes four writes:
//
//	volume.spec.claimRef -> volume.status.phase -> claim.spec.volumeName, bind-completed -> claim.status
//
// The first one decides: it fails if somebody else has written the volume since it was read. After any of them the work may
// be left lying, and whoever finds it goes on from there; so everything follows from the two objects alone. What a person has
// set by hand (a volume for a claim, a claim for a volume, or both) is such a beginning, too. The annotation
// bound-by-controller tells it from what was set here, and what a person set is never taken back.
//
// Claims of classes that wait for their first consumer are bound by the scheduler, which knows the pod's node: it does the
// first write, or says for which node a volume is to be made (selected-node).
//
// Keys in a namespace are claims, keys without one are volumes.
type volumeBinder struct {
	claims, volumes, classes, pods *Source

	mu        sync.Mutex // guards the fields below
	notices   map[types.UID]posted
	scrubbing map[types.UID]scrubbing // volumes that are being emptied
}

// posted is a notice that was told of an object.
type posted struct {
	notice
	at time.Time
}

// notice is an event.
type notice struct{ kind, reason, message string }

// noticeAge is how long a notice of what has not changed is good for: events are kept for an hour.
const noticeAge = 20 * time.Minute

// storageRetry is how long it takes until something outside that has failed is tried again.
const storageRetry = 15 * time.Second

func volumeBinderLoop(c *Config) Loop {
	x := &volumeBinder{claims: c.Source(&corev1.PersistentVolumeClaim{}), volumes: c.Source(&corev1.PersistentVolume{}),
		classes: c.Source(&storagev1.StorageClass{}), pods: c.Source(&corev1.Pod{}),
		notices: map[types.UID]posted{}, scrubbing: map[types.UID]scrubbing{}}
	return Loop{
		Watches: []Watch{{x.claims, x.ofClaim}, {x.volumes, x.ofVolume}, {x.classes, x.ofClass}, {x.pods, x.ofPod}},
		Reconcile: func(ctx context.Context, t *Turn) error {
			if t.Namespace == "" {
				return x.reconcileVolume(ctx, t)
			}
			return x.reconcileClaim(ctx, t)
		},
	}
}

// ofClaim are the claim and, when it begins or ends to name a volume, all volumes that may be for it.
func (x *volumeBinder) ofClaim(old, now metav1.Object) []Key {
	keys := itself(old, now)
	names := func(o metav1.Object) string {
		if claim, ok := o.(*corev1.PersistentVolumeClaim); ok {
			return claim.Spec.VolumeName
		}
		return ""
	}
	if now == nil {
		x.forget(old.GetUID())
	}
	before, after := names(old), names(now)
	if before == after && now != nil {
		return keys
	}
	for _, name := range []string{before, after} {
		if name != "" {
			keys = append(keys, Key{Name: name})
		}
	}
	return append(keys, keysOf(volumesFor(x.volumes, keys[0]))...)
}

// ofVolume are the volume, the claim that it is for, and claims that wait for it, or for any like it.
func (x *volumeBinder) ofVolume(old, now metav1.Object) []Key {
	keys := itself(old, now)
	before, _ := old.(*corev1.PersistentVolume)
	after, _ := now.(*corev1.PersistentVolume)
	if after == nil {
		x.forget(before.UID)
	}
	sameClaim := before != nil && after != nil && before.UID == after.UID && claimRefKey(before) == claimRefKey(after)
	if !sameClaim {
		for _, volume := range []*corev1.PersistentVolume{before, after} {
			if volume != nil && volume.Spec.ClaimRef != nil {
				keys = append(keys, claimRefKey(volume))
			}
		}
		keys = append(keys, keysOf(claimsNaming(x.claims, keys[0].Name))...)
	}
	if after != nil && after.Spec.ClaimRef == nil && after.Status.Phase == corev1.VolumeAvailable {
		keys = append(keys, keysOf(claimsWanting(x.claims, storagevolume.GetPersistentVolumeClass(after)))...)
	}
	return keys
}

// claimRefKey is the claim that a volume is for; empty if it is for any.
func claimRefKey(volume *corev1.PersistentVolume) Key {
	if of := volume.Spec.ClaimRef; of != nil {
		return Key{of.Namespace, of.Name}
	}
	return Key{}
}

// ofClass are the claims of the class, and those without one if it is the default by now.
func (x *volumeBinder) ofClass(_, now metav1.Object) []Key {
	if now == nil {
		return nil
	}
	keys := keysOf(claimsWanting(x.claims, now.GetName()))
	if isDefaultClass(now) {
		keys = append(keys, keysOf(claimsWanting(x.claims, ""))...)
	}
	return keys
}

// ofPod are claims that a new pod waits for, and the volume that the pod was made to empty.
func (x *volumeBinder) ofPod(old, now metav1.Object) (keys []Key) {
	if volume, ok := scrubbed(itself(old, now)[0]); ok {
		return []Key{{Name: volume}}
	}
	pod, _ := now.(*corev1.Pod)
	if pod == nil || old != nil || pod.Spec.NodeName != "" {
		return nil
	}
	for _, name := range claimNames(pod) {
		if claim, ok := x.claims.cached(Key{pod.Namespace, name}).(*corev1.PersistentVolumeClaim); ok && claim.Spec.VolumeName == "" {
			keys = append(keys, KeyOf(claim))
		}
	}
	return keys
}

// post tells what keeps an object waiting: once, and again only when it is about to be forgotten, or is another thing.
func (x *volumeBinder) post(t *Turn, of interface {
	runtime.Object
	metav1.Object
}, n notice) {
	if n == (notice{}) {
		return
	}
	t.Again(noticeAge)
	x.mu.Lock()
	last := x.notices[of.GetUID()]
	fresh := last.notice == n && t.Now.Sub(last.at) < noticeAge
	if !fresh {
		x.notices[of.GetUID()] = posted{n, t.Now}
	}
	x.mu.Unlock()
	if !fresh {
		t.Event(of, n.kind, n.reason, "%s", n.message)
	}
}

func (x *volumeBinder) forget(uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.notices, uid)
	delete(x.scrubbing, uid)
}

// defaultClass is the class of claims that name none: the one that was called the default last.
func (x *volumeBinder) defaultClass() *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for _, o := range x.classes.all("") {
		class := o.(*storagev1.StorageClass)
		if isDefaultClass(class) && (found == nil || cmp.Or(class.CreationTimestamp.Compare(found.CreationTimestamp.Time), cmp.Compare(found.Name, class.Name)) > 0) {
			found = class
		}
	}
	return found
}

func isDefaultClass(class metav1.Object) bool {
	return class.GetAnnotations()["storageclass.kubernetes.io/is-default-class"] == "true" ||
		class.GetAnnotations()["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

// bind does what is left to do so that a claim and a volume are bound.
func (x *volumeBinder) bind(ctx context.Context, t *Turn, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	volumes, claims := t.Client.CoreV1().PersistentVolumes(), t.Client.CoreV1().PersistentVolumeClaims(claim.Namespace)
	wanted, changed, err := storagevolume.GetBindVolumeToClaim(volume, claim)
	if err != nil {
		return err
	}
	if changed {
		if wanted, err = Update(ctx, t, volumes, wanted); err != nil {
			return err
		}
	}
	if wanted, err = x.setVolumePhase(ctx, t, wanted, corev1.VolumeBound, ""); err != nil {
		return err
	}
	if bound := boundClaim(claim, wanted); bound != nil {
		if claim, err = Update(ctx, t, claims, bound); err != nil {
			return err
		}
	}
	_, err = x.setClaimStatus(ctx, t, claim, corev1.ClaimBound, wanted)
	return err
}

func (x *volumeBinder) setVolumePhase(ctx context.Context, t *Turn, volume *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) (*corev1.PersistentVolume, error) {
	if volume.Status.Phase == phase {
		return volume, nil
	}
	changed := volume.DeepCopy()
	changed.Status.Phase, changed.Status.Message = phase, message
	return UpdateStatus(ctx, t, t.Client.CoreV1().PersistentVolumes(), changed)
}

func (x *volumeBinder) setClaimStatus(ctx context.Context, t *Turn, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	changed, err := claimStatus(claim, phase, volume)
	if err != nil || changed == nil {
		return claim, err
	}
	return UpdateStatus(ctx, t, t.Client.CoreV1().PersistentVolumeClaims(claim.Namespace), changed)
}

// volume is a volume by its name. The API is asked for one that the cache does not have: a claim must not be called lost
// because its volume was made a moment ago.
func (x *volumeBinder) volume(ctx context.Context, t *Turn, name string) (*corev1.PersistentVolume, error) {
	if volume, ok := x.volumes.cached(Key{Name: name}).(*corev1.PersistentVolume); ok {
		return volume, nil
	}
	volume, err := t.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return volume, err
}
