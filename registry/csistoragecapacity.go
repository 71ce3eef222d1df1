package registry

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// csiStorageCapacity says how much a storage class can still provide to a set of nodes.
func csiStorageCapacity() *Resource {
	return Kind[*storagev1.CSIStorageCapacity]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "csistoragecapacities", Singular: "csistoragecapacity", Kind: "CSIStorageCapacity",
			Namespaced: true, Prefix: "csistoragecapacities", Versions: []Version{{Name: "v1"}},
			RequireRevision: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
		},
		Validate: validateCSIStorageCapacity,
		Warn: func(_ *Write, c, _ *storagev1.CSIStorageCapacity) []string {
			return warnNodeLabelSelector(c.NodeTopology, field.NewPath("nodeTopology"))
		},
	}.row()
}

func validateCSIStorageCapacity(_ *Write, c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	strict := metav1validation.LabelSelectorValidationOptions{}
	opts := strict
	if old != nil {
		// A stored selector that is wrong by today's rules may stay.
		opts.AllowInvalidLabelValueInSelector = len(metav1validation.ValidateLabelSelector(old.NodeTopology, strict, nil)) > 0
	}
	errs := metav1validation.ValidateLabelSelector(c.NodeTopology, opts, field.NewPath("nodeTopology"))
	for _, msg := range apivalidation.NameIsDNSSubdomain(c.StorageClassName, false) {
		errs = append(errs, field.Invalid(field.NewPath("storageClassName"), c.StorageClassName, msg))
	}
	if q := c.Capacity; q != nil && q.Cmp(resource.Quantity{}) < 0 {
		errs = append(errs, field.Invalid(field.NewPath("capacity"), q.String(), apivalidation.IsNegativeErrorMsg))
	}
	if old == nil {
		return errs
	}
	if !equal(c.NodeTopology, old.NodeTopology) {
		errs = append(errs, field.Invalid(field.NewPath("nodeTopology"), c.NodeTopology, apivalidation.FieldImmutableErrorMsg))
	}
	if c.StorageClassName != old.StorageClassName {
		errs = append(errs, field.Invalid(field.NewPath("storageClassName"), c.StorageClassName, apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}
