package controllers

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What others use stays until they no longer do: a finalizer holds it when it is deleted. Admission sets the finalizer when
// an object is made; here it is given to older ones, and taken from those that are to go and that nobody uses. Volumes are
// in use while they are bound, attributes classes while a claim or a volume names them, claims while pods have them (see
// claimProtection).
const (
	volumeProtected          = "kubernetes.io/pv-protection"
	claimProtected           = "kubernetes.io/pvc-protection"
	attributesClassProtected = "kubernetes.io/vac-protection"
)

// held reports that an object is to go, and that its finalizer is what holds it.
func held(o metav1.Object, finalizer string) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), finalizer)
}

// unprotected reports that an object is to stay, and lacks the finalizer.
func unprotected(o metav1.Object, finalizer string) bool {
	return o.GetDeletionTimestamp() == nil && !slices.Contains(o.GetFinalizers(), finalizer)
}

// withFinalizer is a copy of an object that has a finalizer, or has it no longer.
func withFinalizer[T interface {
	metav1.Object
	DeepCopy() T
}](o T, finalizer string, has bool) T {
	changed := o.DeepCopy()
	rest := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer })
	if has {
		rest = append(rest, finalizer)
	}
	changed.SetFinalizers(rest)
	return changed
}

// protect gives an object the finalizer that it lacks, or takes it away if the object is to go and is not used.
func protect[T interface {
	metav1.Object
	DeepCopy() T
}](ctx context.Context, t *Turn, client interface {
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
}, o T, finalizer string, used func() (bool, error)) error {
	switch {
	case unprotected(o, finalizer):
	case held(o, finalizer):
		if is, err := used(); is || err != nil {
			return err
		}
	default:
		return nil
	}
	_, err := Update(ctx, t, client, withFinalizer(o, finalizer, o.GetDeletionTimestamp() == nil))
	return goneAlready(err)
}

// ofConcern are the keys of changed objects that protect has something to do for.
func ofConcern(finalizer string) func(old, now metav1.Object) []Key {
	return func(_, now metav1.Object) []Key {
		if now == nil || !held(now, finalizer) && !unprotected(now, finalizer) {
			return nil
		}
		return []Key{KeyOf(now)}
	}
}

// volumeProtection promises that a volume stays while it is bound. The volume controller says whether it is, in its phase.
type volumeProtection struct{ volumes *Source }

func volumeProtectionLoop(c *Config) Loop {
	x := &volumeProtection{c.Source(&corev1.PersistentVolume{})}
	return Loop{Watches: []Watch{{x.volumes, ofConcern(volumeProtected)}}, Reconcile: x.reconcile}
}

func (x *volumeProtection) reconcile(ctx context.Context, t *Turn) error {
	volume, _ := x.volumes.cached(t.Key).(*corev1.PersistentVolume)
	if volume == nil {
		return nil
	}
	return protect(ctx, t, t.Client.CoreV1().PersistentVolumes(), volume, volumeProtected, func() (bool, error) {
		return volume.Status.Phase == corev1.VolumeBound, nil
	})
}

// attributesClassProtection promises that a class of volume attributes stays while claims or volumes name it.
//
// It goes by what the caches show: a claim made in the very moment in which its class goes may be without one, and waits.
type attributesClassProtection struct{ classes, claims, volumes *Source }

func attributesClassProtectionLoop(c *Config) Loop {
	x := &attributesClassProtection{c.Source(&storagev1.VolumeAttributesClass{}), c.Source(&corev1.PersistentVolumeClaim{}), c.Source(&corev1.PersistentVolume{})}
	return Loop{
		Watches:   []Watch{{x.classes, ofConcern(attributesClassProtected)}, {x.claims, unnamed}, {x.volumes, unnamed}},
		Reconcile: x.reconcile,
	}
}

// namedAttributesClasses are the classes that a claim or a volume names.
func namedAttributesClasses(o metav1.Object) (names []string) {
	add := func(name *string) {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		add(o.Spec.VolumeAttributesClassName)
	case *corev1.PersistentVolumeClaim:
		add(o.Spec.VolumeAttributesClassName)
		add(o.Status.CurrentVolumeAttributesClassName)
		if o.Status.ModifyVolumeStatus != nil {
			add(&o.Status.ModifyVolumeStatus.TargetVolumeAttributesClassName)
		}
	}
	return names
}

// unnamed are the classes that an object named, and names no longer.
func unnamed(old, now metav1.Object) (keys []Key) {
	still := namedAttributesClasses(now)
	for _, name := range namedAttributesClasses(old) {
		if !slices.Contains(still, name) {
			keys = append(keys, Key{Name: name})
		}
	}
	return keys
}

func (x *attributesClassProtection) reconcile(ctx context.Context, t *Turn) error {
	class, _ := x.classes.cached(t.Key).(*storagev1.VolumeAttributesClass)
	if class == nil {
		return nil
	}
	names := func(o metav1.Object) bool { return slices.Contains(namedAttributesClasses(o), class.Name) }
	return protect(ctx, t, t.Client.StorageV1().VolumeAttributesClasses(), class, attributesClassProtected, func() (bool, error) {
		return slices.ContainsFunc(x.volumes.all(""), names) || slices.ContainsFunc(x.claims.all(""), names), nil
	})
}
