package registry

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// csiNode lists the CSI drivers of a node, as its kubelet registers them.
func csiNode() *Resource {
	return Kind[*storagev1.CSINode]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "csinodes", Singular: "csinode", Kind: "CSINode",
			Prefix: "csinodes", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, RequireRevision: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Drivers", Type: "integer", Description: "Drivers indicates the number of CSI drivers registered on the node"},
				ageColumn(),
			},
		},
		Validate: validateCSINode,
		Cells: func(n *storagev1.CSINode) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), Age{At: n.CreationTimestamp}}
		},
	}.row()
}

func validateCSINode(_ *Write, n, old *storagev1.CSINode) field.ErrorList {
	path := field.NewPath("spec", "drivers")
	var errs field.ErrorList
	seen := sets.New[string]()
	for i := range n.Spec.Drivers {
		errs = append(errs, validateCSINodeDriver(&n.Spec.Drivers[i], seen, path.Index(i))...)
	}
	if old != nil {
		errs = append(errs, validateCSINodeDriversKept(n.Spec.Drivers, old.Spec.Drivers, path)...)
	}
	return errs
}

func validateCSINodeDriver(d *storagev1.CSINodeDriver, seen sets.Set[string], path *field.Path) field.ErrorList {
	const maxNodeID = 256
	errs := validateCSIDriverName(d.Name, path.Child("name"))
	if d.NodeID == "" {
		errs = append(errs, field.Required(path.Child("nodeID"), d.NodeID))
	}
	if len(d.NodeID) > maxNodeID {
		errs = append(errs, field.Invalid(path.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID)))
	}
	if d.Allocatable != nil && d.Allocatable.Count != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*d.Allocatable.Count), path.Child("allocatable", "count"))...)
	}
	if seen.Has(d.Name) {
		errs = append(errs, field.Duplicate(path.Child("name"), d.Name))
	}
	seen.Insert(d.Name)
	return append(errs, validateCSITopologyKeys(d.TopologyKeys, path)...)
}

// validateCSITopologyKeys reports a bad key at the driver: the list has no path of its own in upstream's errors.
func validateCSITopologyKeys(keys []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for _, key := range keys {
		if key == "" {
			errs = append(errs, field.Required(path, key))
		}
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(path, key))
		}
		seen.Insert(key)
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(path, key, msg))
		}
	}
	return errs
}

// validateCSINodeDriversKept refuses changes of a registered driver, save of what it can allocate.
func validateCSINodeDriversKept(drivers, old []storagev1.CSINodeDriver, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, before := range old {
		for _, after := range drivers {
			if before.Name != after.Name {
				continue
			}
			before, after := before, after
			before.Allocatable, after.Allocatable = nil, nil
			errs = append(errs, apivalidation.ValidateImmutableField(&after, &before, path)...)
		}
	}
	return errs
}
