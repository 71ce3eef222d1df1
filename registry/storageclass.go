package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// storageClass names a way to provision volumes; only its labels, annotations, mount options, topologies and
// allowVolumeExpansion may change.
func storageClass() *Resource {
	return Kind[*storagev1.StorageClass]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "storageclasses", Singular: "storageclass", Kind: "StorageClass",
			ShortNames: []string{"sc"}, Prefix: "storageclasses", Governs: true, Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Provisioner", doc(storagev1.StorageClass{}, "provisioner")),
				textColumn("ReclaimPolicy", doc(storagev1.StorageClass{}, "reclaimPolicy")),
				textColumn("VolumeBindingMode", doc(storagev1.StorageClass{}, "volumeBindingMode")),
				textColumn("AllowVolumeExpansion", doc(storagev1.StorageClass{}, "allowVolumeExpansion")),
				ageColumn(),
			},
		},
		Default:  defaultStorageClass,
		Validate: validateStorageClass,
		Warn:     warnStorageClass,
		Cells:    storageClassCells,
	}.row()
}

func defaultStorageClass(c *storagev1.StorageClass) {
	fillPointer(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	fillPointer(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

func validateStorageClass(_ *Write, c, old *storagev1.StorageClass) field.ErrorList {
	errs := validateProvisioner(c.Provisioner, field.NewPath("provisioner"))
	errs = append(errs, validateClassParameters(c.Parameters, field.NewPath("parameters"))...)
	if p := c.ReclaimPolicy; p != nil && *p != "" && *p != corev1.PersistentVolumeReclaimDelete && *p != corev1.PersistentVolumeReclaimRetain {
		errs = append(errs, field.NotSupported(field.NewPath("reclaimPolicy"), p,
			[]corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain}))
	}
	errs = append(errs, validateVolumeBindingMode(c.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	errs = append(errs, validateAllowedTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	if old == nil {
		return errs
	}
	errs = append(errs, apivalidation.ValidateImmutableField(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	return append(errs, apivalidation.ValidateImmutableField(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
}

// validateProvisioner checks the name of the driver that a class of volumes or of volume attributes is for.
func validateProvisioner(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, name)}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(strings.ToLower(name)) {
		errs = append(errs, field.Invalid(path, strings.ToLower(name), msg))
	}
	return errs
}

// validateClassParameters bounds the opaque parameters of a class in number and size.
func validateClassParameters(params map[string]string, path *field.Path) field.ErrorList {
	const maxCount, maxBytes = 512, 256 << 10
	if len(params) > maxCount {
		return field.ErrorList{field.TooLong(path, "", maxCount)}
	}
	var errs field.ErrorList
	size := 0
	for _, key := range sortedKeys(params) {
		if key == "" {
			errs = append(errs, field.Invalid(path, key, "field can not be empty."))
		}
		size += len(key) + len(params[key])
	}
	if size > maxBytes {
		errs = append(errs, field.TooLong(path, "", maxBytes))
	}
	return errs
}

func validateVolumeBindingMode(mode *storagev1.VolumeBindingMode, path *field.Path) field.ErrorList {
	switch {
	case mode == nil:
		return field.ErrorList{field.Required(path, "")}
	case *mode != storagev1.VolumeBindingImmediate && *mode != storagev1.VolumeBindingWaitForFirstConsumer:
		return field.ErrorList{field.NotSupported(path, mode,
			[]storagev1.VolumeBindingMode{storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer})}
	}
	return nil
}

// validateAllowedTopologies checks each term, and that no two of them select the same.
func validateAllowedTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	// A term without expressions counts as a duplicate even when it is alone: upstream's list of what it has seen
	// starts with an empty entry for every term, and clients see the errors that follow from it.
	seen := make([]map[string]sets.Set[string], len(terms))
	for i, term := range terms {
		wanted, termErrs := validateTopologySelectorTerm(term, path.Index(i))
		errs = append(errs, termErrs...)
		for _, other := range seen {
			if equal(wanted, other) {
				errs = append(errs, field.Duplicate(path.Index(i).Child("matchLabelExpressions"), ""))
			}
		}
		seen = append(seen, wanted)
	}
	return errs
}

// validateTopologySelectorTerm returns what the term selects (the values by label key) beside the errors.
func validateTopologySelectorTerm(term corev1.TopologySelectorTerm, path *field.Path) (map[string]sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	wanted := map[string]sets.Set[string]{}
	for i, e := range term.MatchLabelExpressions {
		at := path.Child("matchLabelExpressions").Index(i)
		if len(e.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), ""))
		}
		values := sets.New[string]()
		for j, value := range e.Values {
			if values.Has(value) {
				errs = append(errs, field.Duplicate(at.Child("values").Index(j), value))
			}
			values.Insert(value)
		}
		errs = append(errs, metav1validation.ValidateLabelName(e.Key, at.Child("key"))...)
		if _, twice := wanted[e.Key]; twice {
			errs = append(errs, field.Duplicate(at.Child("key"), e.Key))
		}
		wanted[e.Key] = values
	}
	return wanted, errs
}

func warnStorageClass(_ *Write, c, _ *storagev1.StorageClass) []string {
	var warnings []string
	for i, term := range c.AllowedTopologies {
		for j, e := range term.MatchLabelExpressions {
			if why, deprecated := deprecatedNodeLabel(e.Key); deprecated {
				at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key")
				warnings = append(warnings, fmt.Sprintf("%s: %s", at, why))
			}
		}
	}
	return warnings
}

func storageClassCells(c *storagev1.StorageClass) []any {
	name := c.Name
	if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
		name += " (default)"
	}
	reclaim, mode := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	if c.ReclaimPolicy != nil {
		reclaim = *c.ReclaimPolicy
	}
	if c.VolumeBindingMode != nil {
		mode = *c.VolumeBindingMode
	}
	expand := c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion
	return []any{name, c.Provisioner, string(reclaim), string(mode), expand, Age{At: c.CreationTimestamp}}
}
