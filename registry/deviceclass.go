package registry

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deviceClass selects devices and configures them; claims ask for devices by class.
func deviceClass() *Resource {
	return Kind[*resourcev1.DeviceClass]{
		Resource: Resource{
			Group: resourcev1.GroupName, Plural: "deviceclasses", Singular: "deviceclass", Kind: "DeviceClass",
			Prefix: "deviceclasses", Versions: []Version{{Name: "v1"}}, DeleteReturnsObject: true,
			ValidateName: validateDeviceClassName, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{nameColumn(), ageColumn()},
		},
		Prepare: func(_ *Write, c, old *resourcev1.DeviceClass) {
			bumpGeneration(c, old, old != nil && !equal(c.Spec, old.Spec))
		},
		Validate: validateDeviceClass,
		Cells:    func(c *resourcev1.DeviceClass) []any { return []any{c.Name, Age{At: c.CreationTimestamp}} },
	}.row()
}

// validateDeviceClassName does not look at generateName, only at the name that becomes of it.
func validateDeviceClassName(name string, asPrefix bool) []string {
	if asPrefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}

func validateDeviceClass(_ *Write, c, old *resourcev1.DeviceClass) field.ErrorList {
	at := field.NewPath("spec")
	sameSelectors := old != nil && equal(c.Spec.Selectors, old.Spec.Selectors)
	sameConfig := old != nil && equal(c.Spec.Config, old.Spec.Config)
	errs := validateDeviceSelectors(c.Spec.Selectors, sameSelectors, at.Child("selectors"))
	errs = append(errs, validateItems(c.Spec.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"),
		func(c resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
			return validateDeviceConfiguration(c.DeviceConfiguration, sameConfig, at)
		})...)
	if name := c.Spec.ExtendedResourceName; name != nil && !IsExtendedResource(corev1.ResourceName(*name)) {
		errs = append(errs, field.Invalid(at.Child("extendedResourceName"), *name, "must be a valid extended resource name"))
	}
	return errs
}
