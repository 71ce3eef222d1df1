package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateAffinity(a *corev1.Affinity, path *field.Path, opts podOptions) field.ErrorList {
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	if node, at := a.NodeAffinity, path.Child("nodeAffinity"); node != nil {
		if node.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			errs = append(errs, validateNodeSelector(node.RequiredDuringSchedulingIgnoredDuringExecution, opts.nodeSelectorValues, at.Child(required))...)
		}
		errs = append(errs, validatePreferredNodes(node.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred))...)
	}
	if pod, at := a.PodAffinity, path.Child("podAffinity"); pod != nil {
		errs = append(errs, validatePodAffinityTerms(pod.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required), opts)...)
		errs = append(errs, validateWeightedPodAffinityTerms(pod.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred), opts)...)
	}
	if anti, at := a.PodAntiAffinity, path.Child("podAntiAffinity"); anti != nil {
		errs = append(errs, validatePodAffinityTerms(anti.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required), opts)...)
		errs = append(errs, validateWeightedPodAffinityTerms(anti.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred), opts)...)
	}
	return errs
}

// validateNodeSelector is about a choice of nodes, also that of a PersistentVolume. badValues lets label values pass
// that no node can have.
func validateNodeSelector(s *corev1.NodeSelector, badValues bool, path *field.Path) field.ErrorList {
	path = path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(path, "must have at least one node selector term")}
	}
	var errs field.ErrorList
	for i, term := range s.NodeSelectorTerms {
		errs = append(errs, validateNodeSelectorTerm(term, badValues, path.Index(i))...)
	}
	return errs
}

func validateNodeSelectorTerm(term corev1.NodeSelectorTerm, badValues bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, r := range term.MatchExpressions {
		errs = append(errs, validateNodeLabelRequirement(r, badValues, path.Child("matchExpressions").Index(i))...)
	}
	for i, r := range term.MatchFields {
		errs = append(errs, validateNodeFieldRequirement(r, path.Child("matchFields").Index(i))...)
	}
	return errs
}

func validateNodeLabelRequirement(r corev1.NodeSelectorRequirement, badValues bool, path *field.Path) field.ErrorList {
	values := path.Child("values")
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	errs = append(errs, metavalidation.ValidateLabelName(r.Key, path.Child("key"))...)
	if !badValues {
		for i, v := range r.Values {
			errs = append(errs, invalidValue(values.Index(i), v, validation.IsValidLabelValue(v))...)
		}
	}
	return errs
}

// validateNodeFieldRequirement is about the choice of nodes by metadata.name, the one field there is.
func validateNodeFieldRequirement(r corev1.NodeSelectorRequirement, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(path.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.Invalid(path.Child("key"), r.Key, "not a valid field selector key"))
	}
	for i, v := range r.Values {
		errs = append(errs, invalidValue(path.Child("values").Index(i), v, apivalidation.NameIsDNSSubdomain(v, false))...)
	}
	return errs
}

// validatePreferredNodes lets any label value pass: a preference that nothing meets does no harm.
func validatePreferredNodes(terms []corev1.PreferredSchedulingTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, term := range terms {
		errs = append(errs, validateAffinityWeight(term.Weight, path.Index(i).Child("weight"))...)
		errs = append(errs, validateNodeSelectorTerm(term.Preference, true, path.Index(i).Child("preference"))...)
	}
	return errs
}

func validateAffinityWeight(weight int32, path *field.Path) field.ErrorList {
	if weight < 1 || weight > 100 {
		return field.ErrorList{field.Invalid(path, weight, "must be in the range 1-100")}
	}
	return nil
}

func validateWeightedPodAffinityTerms(terms []corev1.WeightedPodAffinityTerm, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	for i, term := range terms {
		errs = append(errs, validateAffinityWeight(term.Weight, path.Index(i).Child("weight"))...)
		errs = append(errs, validatePodAffinityTerm(term.PodAffinityTerm, path.Index(i).Child("podAffinityTerm"), opts)...)
	}
	return errs
}

func validatePodAffinityTerms(terms []corev1.PodAffinityTerm, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	for i, term := range terms {
		errs = append(errs, validatePodAffinityTerm(term, path.Index(i), opts)...)
	}
	return errs
}

func validatePodAffinityTerm(term corev1.PodAffinityTerm, path *field.Path, opts podOptions) field.ErrorList {
	selectors := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: opts.selectorValues}
	errs := metavalidation.ValidateLabelSelector(term.LabelSelector, selectors, path.Child("labelSelector"))
	errs = append(errs, metavalidation.ValidateLabelSelector(term.NamespaceSelector, selectors, path.Child("namespaceSelector"))...)
	for _, name := range term.Namespaces {
		errs = append(errs, invalidValue(path.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))...)
	}
	errs = append(errs, validateLabelKeys(term.MatchLabelKeys, term.MismatchLabelKeys, term.LabelSelector, path)...)
	if term.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(term.TopologyKey, path.Child("topologyKey"))...)
}

// validateLabelKeys is about keys whose values the incoming pod adds to a selector, as wanted or as unwanted. When an
// object is created the requirements for the match keys have been appended to the selector already: a key that stands
// in the selector beside that requirement was there before.
func validateLabelKeys(match, mismatch []string, selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	errs := validateLabelKeyNames(match, selector, path.Child("matchLabelKeys"))
	errs = append(errs, validateLabelKeyNames(mismatch, selector, path.Child("mismatchLabelKeys"))...)
	if selector != nil {
		index := map[string]int{}
		for i, key := range match {
			index[key] = i
		}
		seen := sets.KeySet(selector.MatchLabels)
		for _, e := range selector.MatchExpressions {
			if i, ok := index[e.Key]; ok && seen.Has(e.Key) {
				errs = append(errs, field.Invalid(path.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			seen.Insert(e.Key)
		}
	}
	unwanted := sets.New(mismatch...)
	for i, key := range match {
		if unwanted.Has(key) {
			errs = append(errs, field.Invalid(path.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}

func validateLabelKeyNames(keys []string, selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if len(keys) > 0 && selector == nil {
		return field.ErrorList{field.Forbidden(path, "must not be specified when labelSelector is not set")}
	}
	var errs field.ErrorList
	for i, key := range keys {
		errs = append(errs, metavalidation.ValidateLabelName(key, path.Index(i))...)
	}
	return errs
}

// validateOldLabelKeys are the rules of label keys from when they were not merged into the selector.
func validateOldLabelKeys(match []string, selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if len(match) == 0 {
		return nil
	}
	var errs field.ErrorList
	selected := sets.New[string]()
	if selector == nil {
		errs = append(errs, field.Forbidden(path, "must not be specified when labelSelector is not set"))
	} else {
		selected = sets.KeySet(selector.MatchLabels)
		for _, e := range selector.MatchExpressions {
			selected.Insert(e.Key)
		}
	}
	for i, key := range match {
		errs = append(errs, metavalidation.ValidateLabelName(key, path.Index(i))...)
		if selected.Has(key) {
			errs = append(errs, field.Invalid(path.Index(i), key, "exists in both matchLabelKeys and labelSelector"))
		}
	}
	return errs
}

func validateTopologySpreadConstraints(constraints []corev1.TopologySpreadConstraint, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	for i, c := range constraints {
		at := path.Index(i)
		errs = append(errs, validateTopologySpreadConstraint(c, at, opts)...)
		for _, other := range constraints[i+1:] {
			if c.TopologyKey == other.TopologyKey && c.WhenUnsatisfiable == other.WhenUnsatisfiable {
				errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"),
					fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
				break
			}
		}
	}
	return errs
}

func validateTopologySpreadConstraint(c corev1.TopologySpreadConstraint, path *field.Path, opts podOptions) field.ErrorList {
	errs := validatePositive(int64(c.MaxSkew), path.Child("maxSkew"))
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "can not be empty"))
	}
	errs = append(errs, validateChoice(c.WhenUnsatisfiable, path.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
	if c.MinDomains != nil {
		errs = append(errs, validatePositive(int64(*c.MinDomains), path.Child("minDomains"))...)
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			errs = append(errs, field.Invalid(path.Child("minDomains"), *c.MinDomains,
				fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
		}
	}
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	errs = append(errs, validateOptionalChoice(c.NodeAffinityPolicy, path.Child("nodeAffinityPolicy"), policies...)...)
	errs = append(errs, validateOptionalChoice(c.NodeTaintsPolicy, path.Child("nodeTaintsPolicy"), policies...)...)
	if opts.spreadLabelKeys {
		errs = append(errs, validateOldLabelKeys(c.MatchLabelKeys, c.LabelSelector, path.Child("matchLabelKeys"))...)
	} else {
		errs = append(errs, validateLabelKeys(c.MatchLabelKeys, nil, c.LabelSelector, path)...)
	}
	if !opts.spreadSelectors {
		errs = append(errs, metavalidation.ValidateLabelSelector(c.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, path.Child("labelSelector"))...)
	}
	return errs
}
