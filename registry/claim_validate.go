package registry

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// claimOptions is what an update of a PersistentVolumeClaim may keep because the old one has it. The zero value is the
// rules for new claims, and for templates of them.
type claimOptions struct {
	// selectorValues: the selector is invalid.
	selectorValues bool
	// sourceGroup: a data source is of any API group.
	sourceGroup bool
}

// validateClaimSpec is about what a PersistentVolumeClaim, or the template of one, asks for.
func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path, opts claimOptions) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), "at least 1 access mode is required"))
	}
	errs = append(errs, validateAccessModes(s.AccessModes, path.Child("accessModes"))...)
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector,
		metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: opts.selectorValues}, path.Child("selector"))...)
	size := path.Child("resources").Key(string(corev1.ResourceStorage))
	if q, asked := s.Resources.Requests[corev1.ResourceStorage]; !asked {
		errs = append(errs, field.Required(size, ""))
	} else {
		errs = append(errs, validatePositiveQuantity(q, size)...)
	}
	errs = append(errs, validateClassName(s.StorageClassName, path.Child("storageClassName"))...)
	errs = append(errs, validateClassName(s.VolumeAttributesClassName, path.Child("volumeAttributesClassName"))...)
	errs = append(errs, validateOptionalChoice(s.VolumeMode, path.Child("volumeMode"), corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	return append(errs, validateDataSources(s, path, opts)...)
}

// validateAccessModes is about the modes of a volume or a claim. ReadWriteOncePod excludes all others.
func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) field.ErrorList {
	known := []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}
	var errs field.ErrorList
	alone, shared := false, false
	for _, mode := range modes {
		errs = append(errs, validateChoice(mode, path, known...)...)
		alone = alone || mode == corev1.ReadWriteOncePod
		shared = shared || mode != corev1.ReadWriteOncePod && slices.Contains(known, mode)
	}
	if alone && shared {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// validateClassName is about the optional name of a class; an empty one asks for no class.
func validateClassName(name *string, path *field.Path) field.ErrorList {
	if name == nil || *name == "" {
		return nil
	}
	return invalidValue(path, *name, apivalidation.NameIsDNSSubdomain(*name, false))
}

// validateDataSources is about dataSource and dataSourceRef, the older and the newer name of one thing. They are equal
// unless the source lies in another namespace, which the older cannot say.
func validateDataSources(s *corev1.PersistentVolumeClaimSpec, path *field.Path, opts claimOptions) field.ErrorList {
	source, ref := s.DataSource, s.DataSourceRef
	var errs field.ErrorList
	if source != nil {
		errs = append(errs, validateDataSource(source.APIGroup, source.Kind, source.Name, path.Child("dataSource"), opts)...)
	}
	elsewhere := ref != nil && ref.Namespace != nil && *ref.Namespace != ""
	if ref != nil {
		errs = append(errs, validateDataSource(ref.APIGroup, ref.Kind, ref.Name, path.Child("dataSourceRef"), opts)...)
	}
	if elsewhere {
		errs = append(errs, invalidValue(path.Child("dataSourceRef", "namespace"), *ref.Namespace, apivalidation.ValidateNamespaceName(*ref.Namespace, false))...)
	}
	switch {
	case source == nil || ref == nil:
	case elsewhere:
		errs = append(errs, field.Invalid(path, path.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified"))
	case !reflect.DeepEqual(source.APIGroup, ref.APIGroup) || source.Kind != ref.Kind || source.Name != ref.Name:
		errs = append(errs, field.Invalid(path, path.Child("dataSource"), "must match dataSourceRef"))
	}
	return errs
}

func validateDataSource(apiGroup *string, kind, name string, path *field.Path, opts claimOptions) field.ErrorList {
	errs := append(validateRequired(name, path.Child("name")), validateRequired(kind, path.Child("kind"))...)
	switch {
	case apiGroup == nil || *apiGroup == "":
		if kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
	case !opts.sourceGroup:
		errs = append(errs, invalidValue(path.Child("apiGroup"), *apiGroup, validation.IsDNS1123Subdomain(*apiGroup))...)
	}
	return errs
}

// validateClaimTemplateMeta is about the metadata of a claim that does not exist yet: labels and annotations are copied,
// nothing else can be.
func validateClaimTemplateMeta(m *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	errs := append(apivalidation.ValidateAnnotations(m.Annotations, path.Child("annotations")),
		metavalidation.ValidateLabels(m.Labels, path.Child("labels"))...)
	return append(errs, validateUnset(*m, path, "cannot be set", "Annotations", "Labels")...)
}
