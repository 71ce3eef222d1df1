package registry

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The policies of a job: what a failed pod means, when the job has succeeded, and when a pod is replaced.

const (
	maxFailureRules         = 20
	maxFailureExitCodes     = 255
	maxFailureConditions    = 20
	maxSuccessRules         = 20
	maxSuccessIndexesLength = 64 * 1024
)

// validateJobPolicies is about the policies in the spec at path.
func validateJobPolicies(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := validateReplacementPolicy(s, path.Child("podReplacementPolicy"))
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, path.Child("podFailurePolicy", "rules"))...)
	}
	switch {
	case s.SuccessPolicy == nil:
	case !isIndexedJob(s):
		errs = append(errs, field.Invalid(path.Child("successPolicy"), *s.SuccessPolicy, "requires indexed completion mode"))
	default:
		errs = append(errs, validateSuccessPolicy(s, path.Child("successPolicy", "rules"))...)
	}
	return errs
}

// validateReplacementPolicy has a failure policy, which judges pods that have failed, wait for the failure.
func validateReplacementPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	choices := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
	if s.PodFailurePolicy != nil {
		choices = choices[:1]
	}
	return validateOptionalChoice(s.PodReplacementPolicy, path, choices...)
}

func validateFailurePolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	rules := s.PodFailurePolicy.Rules
	if len(rules) > maxFailureRules {
		errs = append(errs, field.TooMany(path, len(rules), maxFailureRules))
	}
	containers := sets.New[string]()
	for _, c := range slices.Concat(s.Template.Spec.InitContainers, s.Template.Spec.Containers) {
		containers.Insert(c.Name)
	}
	for i := range rules {
		errs = append(errs, validateFailureRule(&rules[i], s.BackoffLimitPerIndex != nil, containers, path.Index(i))...)
	}
	return errs
}

func validateFailureRule(r *batchv1.PodFailurePolicyRule, perIndex bool, containers sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && !perIndex {
		errs = append(errs, field.Invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	errs = append(errs, validateListedChoice(r.Action, path.Child("action"), batchv1.PodFailurePolicyActionCount,
		batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
	if r.OnExitCodes != nil {
		errs = append(errs, validateFailureExitCodes(r.OnExitCodes, containers, path.Child("onExitCodes"))...)
	}
	errs = append(errs, validateFailureConditions(r.OnPodConditions, path.Child("onPodConditions"))...)
	switch byCode, byCondition := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; {
	case byCode && byCondition:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case !byCode && !byCondition:
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

// validateListedChoice wants one of the choices, and tells them to whom none was made.
func validateListedChoice[T ~string](value T, path *field.Path, choices ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q", choices))}
	}
	return validateChoice(value, path, choices...)
}

func validateFailureConditions(patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(patterns) > maxFailureConditions {
		errs = append(errs, field.TooMany(path, len(patterns), maxFailureConditions))
	}
	for i, p := range patterns {
		errs = append(errs, validateQualifiedName(string(p.Type), path.Index(i).Child("type"))...)
		errs = append(errs, validateListedChoice(p.Status, path.Index(i).Child("status"),
			corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	return errs
}

func validateFailureExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers sets.Set[string], path *field.Path) field.ErrorList {
	errs := validateListedChoice(r.Operator, path.Child("operator"),
		batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if r.ContainerName != nil && !containers.Has(*r.ContainerName) {
		errs = append(errs, field.Invalid(path.Child("containerName"), *r.ContainerName,
			"must be one of the container or initContainer names in the pod template"))
	}
	path = path.Child("values")
	switch n := len(r.Values); {
	case n == 0:
		errs = append(errs, field.Invalid(path, r.Values, "at least one value is required"))
	case n > maxFailureExitCodes:
		errs = append(errs, field.TooMany(path, n, maxFailureExitCodes))
	}
	for i, code := range r.Values {
		if code == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			errs = append(errs, field.Invalid(path.Index(i), code, "must not be 0 for the In operator"))
		}
		if slices.Contains(r.Values[:i], code) {
			errs = append(errs, field.Duplicate(path.Index(i), code))
		}
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(path, r.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	rules := s.SuccessPolicy.Rules
	if len(rules) == 0 {
		errs = append(errs, field.Required(path, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(rules) > maxSuccessRules {
		errs = append(errs, field.TooMany(path, len(rules), maxSuccessRules))
	}
	for i := range rules {
		errs = append(errs, validateSuccessRule(&rules[i], s.Completions, path.Index(i))...)
	}
	return errs
}

// validateSuccessRule compares a rule with the job's completions. A job without any is refused for that.
func validateSuccessRule(r *batchv1.SuccessPolicyRule, limit *int32, path *field.Path) field.ErrorList {
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		return field.ErrorList{field.Required(path, "at least one of succeededCount or succeededIndexes must be specified")}
	}
	if limit == nil {
		return nil
	}
	completions := *limit
	var errs field.ErrorList
	total := int32(0)
	if r.SucceededIndexes != nil {
		at := path.Child("succeededIndexes")
		if len(*r.SucceededIndexes) > maxSuccessIndexesLength {
			errs = append(errs, field.TooLong(at, "", maxSuccessIndexesLength))
		}
		var err error
		if total, err = countJobIndexes(*r.SucceededIndexes, completions); err != nil {
			errs = append(errs, field.Invalid(at, *r.SucceededIndexes, "error parsing succeededIndexes: "+err.Error()))
		}
	}
	if r.SucceededCount == nil {
		return errs
	}
	n, at := *r.SucceededCount, path.Child("succeededCount")
	errs = append(errs, validateNonnegative(int64(n), at)...)
	if n > completions {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
	}
	if r.SucceededIndexes != nil && n > total {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf(
			"must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
	}
	return errs
}
