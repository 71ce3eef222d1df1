package registry

import (
	"math"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeAttachment asks an attacher to bring a volume to a node. The status belongs to the attacher; the spec never
// changes.
func volumeAttachment() *Resource {
	return Kind[*storagev1.VolumeAttachment]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "volumeattachments", Singular: "volumeattachment", Kind: "VolumeAttachment",
			Prefix: "volumeattachments", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, RequireRevision: true, Reset: []string{"status"},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Attacher", Type: "string", Format: "name", Description: doc(storagev1.VolumeAttachmentSpec{}, "attacher")},
				textColumn("PV", doc(storagev1.VolumeAttachmentSource{}, "persistentVolumeName")),
				textColumn("Node", doc(storagev1.VolumeAttachmentSpec{}, "nodeName")),
				{Name: "Attached", Type: "boolean", Description: doc(storagev1.VolumeAttachmentStatus{}, "attached")},
				ageColumn(),
			},
		},
		Default: func(a *storagev1.VolumeAttachment) {
			if inline := a.Spec.Source.InlineVolumeSpec; inline != nil {
				defaultPersistentVolumeSource(inline)
			}
		},
		Prepare: func(_ *Write, a, old *storagev1.VolumeAttachment) {
			a.Status = storagev1.VolumeAttachmentStatus{}
			if old != nil {
				a.Status = old.Status
			}
		},
		Validate: validateVolumeAttachment,
		Status: &Door[*storagev1.VolumeAttachment]{
			Reset: []string{"metadata", "spec"}, UpdateMeta: CreateRules,
			Prepare: func(_ *Write, a, old *storagev1.VolumeAttachment) {
				a.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(a, old)
			},
			Validate: validateVolumeAttachment,
		},
		Cells: volumeAttachmentCells,
	}.row()
}

func validateVolumeAttachment(_ *Write, a, old *storagev1.VolumeAttachment) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateCSIDriverName(a.Spec.Attacher, path.Child("attacher"))
	errs = append(errs, validateVolumeAttachmentSource(&a.Spec.Source, path.Child("source"))...)
	for _, msg := range apivalidation.NameIsDNSSubdomain(a.Spec.NodeName, false) {
		errs = append(errs, field.Invalid(path.Child("nodeName"), a.Spec.NodeName, msg))
	}
	errs = append(errs, validateVolumeAttachmentStatus(&a.Status, field.NewPath("status"))...)
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		for _, msg := range apivalidation.NameIsDNSSubdomain(*name, false) {
			errs = append(errs, field.Invalid(field.NewPath("spec.source.persistentVolumeName"), *name, msg))
		}
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(a.Spec, old.Spec, path)...)
	}
	return errs
}

// validateVolumeAttachmentSource wants either the name of a volume or, for migrated in-tree volumes, its spec.
func validateVolumeAttachmentSource(s *storagev1.VolumeAttachmentSource, path *field.Path) field.ErrorList {
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch name, inline := s.PersistentVolumeName, s.InlineVolumeSpec; {
	case name == nil && inline == nil:
		return field.ErrorList{field.Required(path, one)}
	case name != nil && inline != nil:
		return field.ErrorList{field.Forbidden(path, one)}
	case inline != nil:
		return validateInlineVolumeSpec(inline, path.Child("inlineVolumeSpec"))
	case *name == "":
		return field.ErrorList{field.Required(path.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")}
	}
	return nil
}

func validateVolumeAttachmentStatus(s *storagev1.VolumeAttachmentStatus, path *field.Path) field.ErrorList {
	const maxMetadata = 256 << 10
	var errs field.ErrorList
	size := 0
	for key, value := range s.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxMetadata {
		errs = append(errs, field.TooLong(path.Child("attachmentMetadata"), "", maxMetadata))
	}
	for _, e := range []struct {
		name  string
		error *storagev1.VolumeError
	}{{"attachError", s.AttachError}, {"detachError", s.DetachError}} {
		if e.error == nil {
			continue
		}
		// The limit that the error names is that of the metadata, as upstream's does.
		if len(e.error.Message) > 1024 {
			errs = append(errs, field.TooLong(path.Child(e.name, "message"), "", maxMetadata))
		}
		if code := e.error.ErrorCode; code != nil && *code < 0 {
			errs = append(errs, field.Invalid(path.Child(e.name, "errorCode"), *code, validation.InclusiveRangeError(0, math.MaxInt32)))
		}
	}
	return errs
}

func volumeAttachmentCells(a *storagev1.VolumeAttachment) []any {
	volume := ""
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		volume = *name
	}
	return []any{a.Name, a.Spec.Attacher, volume, a.Spec.NodeName, a.Status.Attached, Age{At: a.CreationTimestamp}}
}
