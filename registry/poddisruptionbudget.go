package registry

import (
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podDisruptionBudget says how many of a set of pods evictions have to leave alone. Evictions count in its status, so
// that no writer may overwrite what it has not read.
func podDisruptionBudget() *Resource {
	return Kind[*policyv1.PodDisruptionBudget]{
		Resource: Resource{
			Group: "policy", Plural: "poddisruptionbudgets", Singular: "poddisruptionbudget", Kind: "PodDisruptionBudget",
			ShortNames: []string{"pdb"}, Namespaced: true, Prefix: "poddisruptionbudgets", Versions: []Version{{Name: "v1"}},
			Reset: []string{"status"}, RequireRevision: true, UpdateMeta: NoRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Min Available", "The minimum number of pods that must be available."),
				textColumn("Max Unavailable", "The maximum number of pods that may be unavailable."),
				integerColumn("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
				ageColumn(),
			},
		},
		Normalize: normalizeDisruptionBudget,
		Prepare: func(_ *Write, b, old *policyv1.PodDisruptionBudget) {
			if old == nil {
				b.Status, b.Generation = policyv1.PodDisruptionBudgetStatus{}, 1
				return
			}
			b.Status = old.Status
			bumpGeneration(b, old, !equal(b.Spec, old.Spec))
		},
		Validate: validateDisruptionBudget,
		Cells: func(b *policyv1.PodDisruptionBudget) []any {
			return []any{b.Name, disruptionCell(b.Spec.MinAvailable), disruptionCell(b.Spec.MaxUnavailable),
				int64(b.Status.DisruptionsAllowed), Age{At: b.CreationTimestamp}}
		},
		Status: &Door[*policyv1.PodDisruptionBudget]{
			Reset:      []string{"spec"},
			UpdateMeta: NoRules,
			Prepare:    func(_ *Write, b, old *policyv1.PodDisruptionBudget) { b.Spec = old.Spec },
			Validate:   validateDisruptionStatus,
		},
	}.row()
}

// emptySelectorLabel was how v1beta1, to which an empty selector chose nothing, spoke of selectors that choose all or
// nothing.
const emptySelectorLabel = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

// normalizeDisruptionBudget keeps that label out of selectors that say anything else.
func normalizeDisruptionBudget(b *policyv1.PodDisruptionBudget) {
	s := b.Spec.Selector
	if s == nil || equal(s, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: emptySelectorLabel, Operator: metav1.LabelSelectorOpExists}}}) {
		return
	}
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == emptySelectorLabel
	})
}

func validateDisruptionBudget(_ *Write, b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	s, path := &b.Spec, field.NewPath("spec")
	var opts metavalidation.LabelSelectorValidationOptions
	if old != nil {
		opts.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(old.Spec.Selector, opts, path)) > 0
	}
	errs := metavalidation.ValidateLabelSelector(s.Selector, opts, path.Child("selector"))
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, s, "minAvailable and maxUnavailable cannot be both set"))
	}
	if s.MinAvailable != nil {
		errs = append(errs, validateRolloutShare(*s.MinAvailable, path.Child("minAvailable"))...)
	}
	if s.MaxUnavailable != nil {
		errs = append(errs, validateRolloutShare(*s.MaxUnavailable, path.Child("maxUnavailable"))...)
	}
	return append(errs, validateOptionalChoice(s.UnhealthyPodEvictionPolicy, path.Child("unhealthyPodEvictionPolicy"),
		policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
}

func validateDisruptionStatus(_ *Write, b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	s, path := &b.Status, field.NewPath("status")
	return append(metavalidation.ValidateConditions(s.Conditions, path.Child("conditions")), validateTallies(path,
		tally{"disruptionsAllowed", int64(s.DisruptionsAllowed)},
		tally{"currentHealthy", int64(s.CurrentHealthy)},
		tally{"desiredHealthy", int64(s.DesiredHealthy)},
		tally{"expectedPods", int64(s.ExpectedPods)})...)
}

func disruptionCell(amount *intstr.IntOrString) string {
	if amount == nil {
		return "N/A"
	}
	return amount.String()
}
