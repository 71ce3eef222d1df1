package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// runtimeClass names a configuration of the container runtime, with what its pods cost and which nodes have it.
func runtimeClass() *Resource {
	return Kind[*nodev1.RuntimeClass]{
		Resource: Resource{
			Group: "node.k8s.io", Plural: "runtimeclasses", Singular: "runtimeclass", Kind: "RuntimeClass",
			Prefix: "runtimeclasses", Governs: true, Versions: []Version{{Name: "v1"}},
			CreateOnUpdate: true, RequireRevision: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules, PlainFinalizers: true,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Handler", doc(metav1.ObjectMeta{}, "handler")),
				ageColumn(),
			},
		},
		Validate: validateRuntimeClass,
		Warn:     warnRuntimeClass,
		Cells: func(c *nodev1.RuntimeClass) []any {
			return []any{c.Name, c.Handler, Age{At: c.CreationTimestamp}}
		},
	}.row()
}

func validateRuntimeClass(_ *Write, c, old *nodev1.RuntimeClass) field.ErrorList {
	handler := field.NewPath("handler")
	var errs field.ErrorList
	if c.Handler == "" {
		errs = append(errs, field.Required(handler, ""))
	} else {
		errs = append(errs, invalidValue(handler, c.Handler, apivalidation.NameIsDNSLabel(c.Handler, false))...)
	}
	if c.Overhead != nil {
		limits := &corev1.ResourceRequirements{Limits: c.Overhead.PodFixed}
		errs = append(errs, validateResourceRequirements(limits, nil, field.NewPath("overhead"), podOptions{})...)
	}
	if s := c.Scheduling; s != nil {
		path := field.NewPath("scheduling")
		errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
		errs = append(errs, validateUniqueTolerations(s.Tolerations, path.Child("tolerations"))...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.Handler, old.Handler, handler)...)
	}
	return errs
}

// validateUniqueTolerations also refuses a toleration that is there already, whatever its seconds.
func validateUniqueTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	errs := validateTolerations(tolerations, path, podOptions{})
	seen := sets.New[corev1.Toleration]()
	for i, t := range tolerations {
		key := t
		key.TolerationSeconds = nil
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(path.Index(i), t))
		}
		seen.Insert(key)
	}
	return errs
}

func warnRuntimeClass(_ *Write, c, _ *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	var warnings []string
	for _, label := range sortedKeys(c.Scheduling.NodeSelector) {
		if why, deprecated := deprecatedNodeLabel(label); deprecated {
			warnings = append(warnings, fmt.Sprintf("%s: %s", field.NewPath("scheduling", "nodeSelector"), why))
		}
	}
	return warnings
}
