package registry

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Metadata is validated by the caller of the hooks, for every kind alike: on create by validateNewMetadata, on update
// by the rules that no kind adds to. Upstream's kinds check it again in their own update, some by the rules of a new
// object, some by those of a change, some by both; and as each finding counts in the answer's causes, so does a kind
// here: its Validate calls the functions below where upstream's does.

// validateNewMetadata applies the rules of a new object, with the resource's own for the name.
func validateNewMetadata(r *Resource, obj Object) field.ErrorList {
	name := r.ValidateName
	if name == nil {
		name = path.ValidatePathSegmentName
	}
	errs := apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, name, field.NewPath("metadata"))
	return append(errs, validateFinalizers(obj)...)
}

// validateChangedMetadata applies the rules of an update.
func validateChangedMetadata(obj, old Object) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	return append(errs, validateFinalizers(obj)...)
}

// validateFinalizers refuses unqualified names besides those of old.
func validateFinalizers(obj Object) field.ErrorList {
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		errs = append(errs, validateUnqualifiedFinalizer(name, field.NewPath("metadata", "finalizers").Index(i))...)
	}
	return errs
}

func validateUnqualifiedFinalizer(name string, at *field.Path) field.ErrorList {
	switch {
	case strings.Contains(name, "/"):
	case name == string(corev1.FinalizerKubernetes), name == metav1.FinalizerOrphanDependents, name == metav1.FinalizerDeleteDependents:
	default:
		return field.ErrorList{field.Invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified")}
	}
	return nil
}

// invalidValue makes an error of each message about a value.
func invalidValue(at *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(at, value, m))
	}
	return errs
}
