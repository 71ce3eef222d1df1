package registry

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateTaintEffect(effect corev1.TaintEffect, path *field.Path) field.ErrorList {
	return validateChoice(effect, path, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

// validateTaints is about the taints of a node, which are unique by key and effect.
func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := sets.New[identity]()
	var errs field.ErrorList
	for i, taint := range taints {
		at := path.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(taint.Key, at.Child("key"))...)
		if complaints := validation.IsValidLabelValue(taint.Value); len(complaints) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), taint.Value, strings.Join(complaints, ";")))
		}
		if taint.Effect == "" {
			errs = append(errs, field.Required(at.Child("effect"), ""))
		} else {
			errs = append(errs, validateTaintEffect(taint.Effect, at.Child("effect"))...)
		}
		id := identity{taint.Key, taint.Effect}
		if seen.Has(id) {
			duplicate := field.Duplicate(at, taint)
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen.Insert(id)
	}
	return errs
}

// validateTolerations is about the tolerations of a pod, and of a RuntimeClass.
func validateTolerations(tolerations []corev1.Toleration, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		errs = append(errs, validateTolerationOperator(t, at, opts)...)
		if t.Effect != "" {
			errs = append(errs, validateTaintEffect(t.Effect, at.Child("effect"))...)
		}
	}
	return errs
}

// validateTolerationOperator is about how a toleration compares, and whether its value suits that. An empty operator
// means Equal. Lt and Gt are off in this release.
func validateTolerationOperator(t corev1.Toleration, path *field.Path, opts podOptions) field.ErrorList {
	operator := path.Child("operator")
	switch {
	case t.Operator == corev1.TolerationOpEqual, t.Operator == "":
		if complaints := validation.IsValidLabelValue(t.Value); len(complaints) > 0 {
			return field.ErrorList{field.Invalid(operator, t.Value, strings.Join(complaints, ";"))}
		}
	case t.Operator == corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(operator, t.Value, "value must be empty when `operator` is 'Exists'")}
		}
	case isNumericToleration(t) && opts.numericTolerations:
		return validateTolerationNumber(t.Value, path.Child("value"))
	case isNumericToleration(t):
		return field.ErrorList{field.NotSupported(operator, t.Operator, []corev1.TolerationOperator{
			corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt})}
	default:
		return field.ErrorList{field.NotSupported(operator, t.Operator, []corev1.TolerationOperator{
			corev1.TolerationOpEqual, corev1.TolerationOpExists})}
	}
	return nil
}

func isNumericToleration(t corev1.Toleration) bool {
	return t.Operator == corev1.TolerationOpLt || t.Operator == corev1.TolerationOpGt
}

func validateTolerationNumber(value string, path *field.Path) field.ErrorList {
	errs := invalidValue(path, value, content.IsDecimalInteger(value))
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		errs = append(errs, field.Invalid(path, value, err.Error()))
	}
	return errs
}

// ValidateTolerations is for tolerations outside of objects.
func ValidateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	return validateTolerations(tolerations, path, podOptions{})
}
