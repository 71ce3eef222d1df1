package registry

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePersistentVolumeClaim(_ *Write, c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validateClaimSpec(&c.Spec, field.NewPath("spec"), claimOptionsFrom(old))
	if old != nil {
		errs = append(errs, validateClaimKept(c, old)...)
	}
	return errs
}

// claimOptionsFrom says what a claim may keep that would be refused in a new one.
func claimOptionsFrom(old *corev1.PersistentVolumeClaim) claimOptions {
	if old == nil {
		return claimOptions{}
	}
	source, ref := old.Spec.DataSource, old.Spec.DataSourceRef
	return claimOptions{
		selectorValues: len(metav1validation.ValidateLabelSelector(old.Spec.Selector, metav1validation.LabelSelectorValidationOptions{}, nil)) > 0,
		sourceGroup:    source != nil && source.APIGroup != nil || ref != nil && ref.APIGroup != nil,
	}
}

// validateClaimKept lets a claim be bound, get the class that its annotation named, and, once bound, grow and change
// its class of attributes. Nothing else of the spec changes.
func validateClaimKept(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	path := field.NewPath("spec")
	wanted, before := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if before.VolumeName == "" {
		before.VolumeName = wanted.VolumeName
	}
	errs := validateClaimClassKept(c, old, wanted)
	if c.Status.Phase == corev1.ClaimBound {
		if wanted.Resources.Requests != nil {
			wanted.Resources.Requests[corev1.ResourceStorage] = old.Spec.Resources.Requests[corev1.ResourceStorage]
		}
		wanted.VolumeAttributesClassName = before.VolumeAttributesClassName
	}
	if !equal(wanted, before) {
		errs = append(errs, field.Forbidden(path,
			fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(before, wanted))))
	}
	errs = append(errs, validateClaimSizeKept(c, old, path.Child("resources", "requests", "storage"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	return append(errs, validateClaimAttributesKept(c, old, path.Child("volumeAttributesClassName"))...)
}

// validateClaimClassKept lets the class move from the annotation of former times to the field, and be filled in where
// neither was set. wanted gets the class that the claim counts as having for the comparison with its former self.
func validateClaimClassKept(c, old *corev1.PersistentVolumeClaim, wanted *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	const key = corev1.BetaStorageClassAnnotation
	annotated, wasAnnotated := old.Annotations[key]
	annotation, isAnnotated := c.Annotations[key]
	class := c.Spec.StorageClassName
	filled := old.Spec.StorageClassName == nil && class != nil
	if filled && wasAnnotated && *class == annotated && (!isAnnotated || annotation == annotated) {
		wanted.StorageClassName = nil
		return nil
	}
	if filled && (!wasAnnotated || *class == annotated) {
		wanted.StorageClassName = nil
	}
	if annotation != annotated {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations", key), annotation, apivalidation.FieldImmutableErrorMsg)}
	}
	return nil
}

// validateClaimSizeKept lets a request that could not be met shrink again, to above what the volume has.
func validateClaimSizeKept(c, old *corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	size, before := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(before) < 0 && size.Cmp(old.Status.Capacity[corev1.ResourceStorage]) <= 0 {
		return field.ErrorList{field.Forbidden(path, "field can not be less than status.capacity")}
	}
	return nil
}

// validateClaimAttributesKept lets a volume not lose the class of attributes that it has been given.
func validateClaimAttributesKept(c, old *corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	class := c.Spec.VolumeAttributesClassName
	switch {
	case equal(class, old.Spec.VolumeAttributesClassName), old.Status.CurrentVolumeAttributesClassName == nil:
		return nil
	case class == nil:
		return field.ErrorList{field.Forbidden(path, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")}
	case *class == "":
		return field.ErrorList{field.Forbidden(path, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")}
	}
	return nil
}

func validatePersistentVolumeClaimStatus(_ *Write, c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validateRequired(c.ResourceVersion, field.NewPath("resourceVersion"))
	if len(c.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("Spec", "accessModes"), ""))
	}
	path := field.NewPath("status")
	for _, name := range sortedKeys(c.Status.Capacity) {
		errs = append(errs, validateQuantity(c.Status.Capacity[name], path.Child("capacity").Key(string(name)))...)
	}
	errs = append(errs, validateClaimResizes(c.Status.AllocatedResourceStatuses, path.Child("allocatedResourceStatuses"))...)
	return append(errs, validateClaimAllocation(c.Status.AllocatedResources, path.Child("allocatedResources"))...)
}

// validateClaimResizes is about how far the growth of each resource has come.
func validateClaimResizes(resizes map[corev1.ResourceName]corev1.ClaimResourceStatus, path *field.Path) field.ErrorList {
	known := []corev1.ClaimResourceStatus{
		corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress,
		corev1.PersistentVolumeClaimNodeResizeInfeasible,
	}
	slices.Sort(known)
	var errs field.ErrorList
	for _, name := range sortedKeys(resizes) {
		errs = append(errs, validateClaimResource(name, path)...)
		if !slices.Contains(known, resizes[name]) {
			errs = append(errs, field.NotSupported(path, name, known))
		}
	}
	return errs
}

// validateClaimAllocation is about what is set aside for the claim while it grows.
func validateClaimAllocation(allocated corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(allocated) {
		wrong := validateClaimResource(name, path)
		if len(wrong) == 0 {
			wrong = validateQuantity(allocated[name], path.Key(string(name)))
		}
		if len(wrong) == 0 {
			wrong = validateResourceQuantity(corev1.ResourceStorage, allocated[name], path.Key(string(name)))
		}
		errs = append(errs, wrong...)
	}
	return errs
}

// validateClaimResource wants storage, or the qualified name of something that is not Kubernetes' own.
func validateClaimResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateQualifiedName(string(name), path)
	if len(errs) == 0 && IsNativeResource(name) && name != corev1.ResourceStorage {
		errs = append(errs, field.NotSupported(path, name, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	return errs
}
