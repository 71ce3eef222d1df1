package registry

import (
	"reflect"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeAttributesClass names a set of attributes that a driver can give to a volume while it exists.
func volumeAttributesClass() *Resource {
	return Kind[*storagev1.VolumeAttributesClass]{
		Resource: Resource{
			Group: "storage.k8s.io", Plural: "volumeattributesclasses", Singular: "volumeattributesclass", Kind: "VolumeAttributesClass",
			ShortNames: []string{"vac"}, Prefix: "volumeattributesclasses", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("DriverName", doc(storagev1.VolumeAttributesClass{}, "driverName")),
				ageColumn(),
			},
		},
		Validate: validateVolumeAttributesClass,
		Cells: func(c *storagev1.VolumeAttributesClass) []any {
			return []any{c.Name, c.DriverName, Age{At: c.CreationTimestamp}}
		},
	}.row()
}

func validateVolumeAttributesClass(_ *Write, c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	driver, parameters := field.NewPath("driverName"), field.NewPath("parameters")
	var errs field.ErrorList
	if old != nil && c.DriverName != old.DriverName {
		errs = append(errs, field.Forbidden(driver, "updates to driverName are forbidden."))
	}
	if old != nil && !reflect.DeepEqual(c.Parameters, old.Parameters) {
		errs = append(errs, field.Forbidden(parameters, "updates to parameters are forbidden."))
	}
	errs = append(errs, validateProvisioner(c.DriverName, driver)...)
	errs = append(errs, validateClassParameters(c.Parameters, parameters)...)
	if len(c.Parameters) == 0 {
		errs = append(errs, field.Required(parameters, "must contain at least one key/value pair"))
	}
	return errs
}
