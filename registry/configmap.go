package registry

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// configMap holds text and bytes for pods; an immutable one can only be deleted.
func configMap() *Resource {
	return Kind[*corev1.ConfigMap]{
		Resource: Resource{
			Plural: "configmaps", Singular: "configmap", Kind: "ConfigMap", ShortNames: []string{"cm"},
			Namespaced: true, Prefix: "configmaps", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Data", Type: "string", Description: doc(corev1.ConfigMap{}, "data")},
				ageColumn(),
			},
		},
		Cells: func(c *corev1.ConfigMap) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), Age{At: c.CreationTimestamp}}
		},
		Validate: validateConfigMap,
	}.row()
}

func validateConfigMap(_ *Write, c, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for _, key := range sortedKeys(c.Data) {
		errs = append(errs, validateConfigKey(key, field.NewPath("data").Key(key))...)
		if _, both := c.BinaryData[key]; both {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(c.Data[key])
	}
	for _, key := range sortedKeys(c.BinaryData) {
		errs = append(errs, validateConfigKey(key, field.NewPath("binaryData").Key(key))...)
		size += len(c.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	if old != nil && old.Immutable != nil && *old.Immutable {
		errs = append(errs, frozen(c, old)...)
	}
	return errs
}

// frozen compares an immutable ConfigMap with its old self.
func frozen(c, old *corev1.ConfigMap) field.ErrorList {
	const why = "field is immutable when `immutable` is set"
	var errs field.ErrorList
	if c.Immutable == nil || !*c.Immutable {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), why))
	}
	if !equal(c.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), why))
	}
	if !reflect.DeepEqual(c.BinaryData, old.BinaryData) { // to upstream, empty is not absent here
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), why))
	}
	return errs
}

func validateConfigKey(key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path, key, msg))
	}
	return errs
}
