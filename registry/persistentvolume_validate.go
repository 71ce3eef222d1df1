package registry

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePersistentVolume judges an update two times over, as upstream does: clients count the causes.
func validatePersistentVolume(_ *Write, v, old *corev1.PersistentVolume) field.ErrorList {
	badValues := old != nil && hasBadVolumeAffinity(old)
	spec := validateVolumeSpec(&v.Spec, v.Name, badValues, field.NewPath("spec"))
	errs := append(spec, validateMountOptions(v)...)
	if old == nil {
		return errs
	}
	errs = append(errs, spec...)
	return append(errs, validatePersistentVolumeKept(v, old)...)
}

// hasBadVolumeAffinity says whether a stored volume asks for label values that no node can have; it may go on to.
func hasBadVolumeAffinity(v *corev1.PersistentVolume) bool {
	return v.Spec.NodeAffinity != nil && hasBadNodeSelectorValue(v.Spec.NodeAffinity.Required)
}

func validatePersistentVolumeStatus(_ *Write, v, _ *corev1.PersistentVolume) field.ErrorList {
	return validateRequired(v.ResourceVersion, field.NewPath("resourceVersion"))
}

// validateVolumeSpec is about the spec of a PersistentVolume of that name.
func validateVolumeSpec(s *corev1.PersistentVolumeSpec, name string, badValues bool, at *field.Path) field.ErrorList {
	errs := validateVolumeAccess(s, at)
	errs = append(errs, validateVolumeCapacity(s.Capacity, at.Child("capacity"))...)
	policy := at.Child("persistentVolumeReclaimPolicy")
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		errs = append(errs, validateChoice(p, policy, corev1.PersistentVolumeReclaimDelete,
			corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if s.NodeAffinity != nil {
		errs = append(errs, validateVolumeAffinity(s.NodeAffinity, badValues, at.Child("nodeAffinity"))...)
	}
	errs = append(errs, validatePVSource(&s.PersistentVolumeSource, name, at)...)
	if s.Local != nil && s.NodeAffinity == nil && firstVolumeSource(s) {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(policy, "may not be 'recycle' for a hostPath mount of '/'"))
	}
	errs = append(errs, validateClassName(&s.StorageClassName, at.Child("storageClassName"))...)
	errs = append(errs, validateOptionalChoice(s.VolumeMode, at.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	return append(errs, validateVolumeAttributes(s, at)...)
}

// firstVolumeSource says whether a local volume is the source that counts: a second source is refused as such.
func firstVolumeSource(s *corev1.PersistentVolumeSpec) bool {
	others := s.PersistentVolumeSource
	others.Local, others.StorageOS, others.CSI = nil, nil, nil
	return others == (corev1.PersistentVolumeSource{})
}

// validateInlineVolumeSpec is about a volume that an attachment describes in place of naming it: a migrated in-tree
// volume of a pod, of which CSI and the mount's options are left.
func validateInlineVolumeSpec(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	const inline = "in the context of inline volumes"
	var errs field.ErrorList
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), "may not be specified "+inline))
		}
	}
	forbid(s.ClaimRef != nil, "claimRef")
	forbid(len(s.Capacity) != 0, "capacity")
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified "+inline))
	}
	errs = append(errs, validateVolumeAccess(s, at)...)
	if p := s.PersistentVolumeReclaimPolicy; p != "" && p != corev1.PersistentVolumeReclaimRetain {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain "+inline))
	}
	forbid(s.NodeAffinity != nil, "nodeAffinity")
	errs = append(errs, validatePVSource(&s.PersistentVolumeSource, "", at)...)
	if s.Local != nil && firstVolumeSource(s) {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	forbid(s.StorageClassName != "", "storageClassName")
	if m := s.VolumeMode; m != nil && *m != corev1.PersistentVolumeFilesystem {
		errs = append(errs, field.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem "+inline))
	}
	return errs
}

func validateVolumeAccess(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), ""))
	}
	return append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
}

// validateVolumeCapacity wants a size, and nothing else.
func validateVolumeCapacity(capacity corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(capacity) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if _, sized := capacity[corev1.ResourceStorage]; !sized || len(capacity) > 1 {
		errs = append(errs, field.NotSupported(at, capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range sortedKeys(capacity) {
		errs = append(errs, validateQuantity(capacity[name], at.Key(string(name)))...)
		errs = append(errs, validatePositiveQuantity(capacity[name], at.Key(string(name)))...)
	}
	return errs
}

func validateVolumeAffinity(a *corev1.VolumeNodeAffinity, badValues bool, at *field.Path) field.ErrorList {
	if a.Required == nil {
		return field.ErrorList{field.Required(at.Child("required"), "must specify required node constraints")}
	}
	return validateNodeSelector(a.Required, badValues, at.Child("required"))
}

// validateVolumeAttributes is about the class of attributes that a CSI volume has.
func validateVolumeAttributes(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	class := s.VolumeAttributesClassName
	if class == nil {
		return nil
	}
	errs := validateClassName(class, at.Child("volumeAttributesClassName"))
	if *class == "" {
		errs = append(errs, field.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed"))
	}
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
	}
	return errs
}

// validateMountOptions refuses the annotation where the volume's driver does not mount.
func validateMountOptions(v *corev1.PersistentVolume) field.ErrorList {
	if _, set := v.Annotations[corev1.MountOptionAnnotation]; !set || mountsWithOptions(&v.Spec.PersistentVolumeSource) {
		return nil
	}
	at := field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation)
	return field.ErrorList{field.Forbidden(at, "may not specify mount options for this volume type")}
}

func mountsWithOptions(s *corev1.PersistentVolumeSource) bool {
	return s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil ||
		s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil ||
		s.VsphereVolume != nil || s.AzureDisk != nil || s.PhotonPersistentDisk != nil
}

// validatePersistentVolumeKept lets the source, the mode and the nodes of a volume not change. A secret for expansion
// may be added, as may nodes where there were none, and the class of attributes may become another one.
func validatePersistentVolumeKept(v, old *corev1.PersistentVolume) field.ErrorList {
	source, before := v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource
	if source.CSI != nil && before.CSI != nil && before.CSI.ControllerExpandSecretRef == nil {
		source.CSI = source.CSI.DeepCopy()
		source.CSI.ControllerExpandSecretRef = nil
	}
	var errs field.ErrorList
	if !equal(source, before) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(before, source))))
	}
	errs = append(errs, apivalidation.ValidateImmutableField(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, validateVolumeAffinityKept(v.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("nodeAffinity"))...)
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// validateVolumeAffinityKept lets labels of former times become those that replaced them, and nothing else change.
func validateVolumeAffinityKept(a, old *corev1.VolumeNodeAffinity, at *field.Path) field.ErrorList {
	renamed := old.DeepCopy()
	if a != nil && a.Required != nil && renamed.Required != nil {
		renameVolumeLabels(renamed.Required.NodeSelectorTerms, a.Required.NodeSelectorTerms)
	}
	if equal(a, renamed) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, a, apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA")}
}

// renameVolumeLabels puts the new name of a label where the terms after have it in the same place.
func renameVolumeLabels(terms, after []corev1.NodeSelectorTerm) {
	replaced := map[string]string{
		corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
		corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		"beta.kubernetes.io/os":             corev1.LabelOSStable,
		"beta.kubernetes.io/arch":           corev1.LabelArchStable,
		corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
	}
	for i := 0; i < len(terms) && i < len(after); i++ {
		expressions, wanted := terms[i].MatchExpressions, after[i].MatchExpressions
		for j := 0; j < len(expressions) && j < len(wanted); j++ {
			// A label without a new name may lose its own: the empty name is an error by itself, and told once.
			if name := replaced[expressions[j].Key]; name == wanted[j].Key {
				expressions[j].Key = name
			}
		}
	}
}
