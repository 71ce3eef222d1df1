package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
)

// finalizerOf is what keeps an object while it is used, by resource.
func finalizerOf(a *Attributes) string {
	switch {
	case a.Is("", "persistentvolumes"):
		return "kubernetes.io/pv-protection"
	case a.Is("", "persistentvolumeclaims"):
		return "kubernetes.io/pvc-protection"
	case a.Is(storagev1.GroupName, "volumeattributesclasses"):
		return "kubernetes.io/vac-protection"
	}
	return ""
}

// storageInUse gives volumes, claims and attributes classes the finalizer that holds them while they are used.
func storageInUse() Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(_ context.Context, a *Attributes) error {
		if f := finalizerOf(a); f != "" && !slices.Contains(a.Object.GetFinalizers(), f) {
			a.Object.SetFinalizers(append(a.Object.GetFinalizers(), f))
		}
		return nil
	}}
}

// Annotations that mark the default storage class; the second is that of its beta.
const (
	isDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	isDefaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

// defaultStorageClass gives a claim that names no class the default one, the youngest if there are several.
func defaultStorageClass(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(ctx context.Context, a *Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		if !ok || !a.Is("", "persistentvolumeclaims") || claim.Spec.StorageClassName != nil {
			return nil
		}
		if _, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named {
			return nil
		}
		all, err := objects.List(ctx, storagev1.GroupName, "storageclasses", "")
		if err != nil {
			return a.refuse(err)
		}
		class := best(all, func(c *storagev1.StorageClass) bool {
			return c.Annotations[isDefaultClass] == "true" || c.Annotations[isDefaultClassBeta] == "true"
		}, func(a, b *storagev1.StorageClass) bool {
			if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
				return a.Name < b.Name
			}
			return b.CreationTimestamp.Before(&a.CreationTimestamp)
		})
		if class != nil {
			claim.Spec.StorageClassName = new(class.Name) // the class is shared
		}
		return nil
	}}
}

// claimResize lets a bound claim grow only where its class allows it.
func claimResize(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Update}, Validate: func(ctx context.Context, a *Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		if !ok || !a.Is("", "persistentvolumeclaims") {
			return nil
		}
		old := a.Old.(*corev1.PersistentVolumeClaim)
		size, before := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
		if size.Cmp(before) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return a.forbid("Only bound persistent volume claims can be expanded")
		}
		if !growable(ctx, objects, storageClassOf(claim), storageClassOf(old)) {
			return a.forbid("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
		}
		return nil
	}}
}

// storageClassOf is the class that the claim names: the annotation of its beta counts before the field.
func storageClassOf(claim *corev1.PersistentVolumeClaim) string {
	if class, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named {
		return class
	}
	return ptr.Deref(claim.Spec.StorageClassName, "")
}

// growable reports that a claim's class, which the update must not change, lets volumes grow.
func growable(ctx context.Context, objects Objects, name, before string) bool {
	if name == "" || name != before {
		return false
	}
	found, err := objects.Get(ctx, storagev1.GroupName, "storageclasses", "", name)
	if err != nil {
		return false
	}
	return ptr.Deref(found.(*storagev1.StorageClass).AllowVolumeExpansion, false)
}
