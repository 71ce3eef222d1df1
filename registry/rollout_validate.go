package registry

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Amounts of pods that a rolling update or a disruption may touch: a number, or a percentage of all.

// rolloutPercent is the number in a percentage; ok is false for anything else.
func rolloutPercent(v intstr.IntOrString) (percent int, ok bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) != 0 {
		return 0, false
	}
	percent, _ = strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return percent, true
}

// isRolloutNone reports that an amount comes to nothing, whatever it is taken of.
func isRolloutNone(v intstr.IntOrString) bool {
	if percent, ok := rolloutPercent(v); ok {
		return percent == 0
	}
	return v.IntValue() == 0
}

// validateRolloutAmount wants a number of zero or more, or a percentage.
func validateRolloutAmount(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return invalidValue(path, v, validation.IsValidPercent(v.StrVal))
	}
	return validateNonnegative(int64(v.IntValue()), path)
}

// validateRolloutShare wants an amount that is at most all there is.
func validateRolloutShare(v intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validateRolloutAmount(v, path)
	if percent, ok := rolloutPercent(v); ok && percent > 100 {
		errs = append(errs, field.Invalid(path, v, "must not be greater than 100%"))
	}
	return errs
}
