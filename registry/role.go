package registry

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// role is what may be done with the objects of its namespace.
func role() *Resource {
	return Kind[*rbacv1.Role]{
		Resource: Resource{
			Group: rbacv1.GroupName, Plural: "roles", Singular: "role", Kind: "Role",
			Namespaced: true, Prefix: "roles", Governs: true, Versions: []Version{{Name: "v1"}}, CreateOnUpdate: true,
			ValidateName: validateRBACName, UpdateMeta: UpdateAndCreateRules,
		},
		Permit:   permitRole,
		Validate: func(_ *Write, r, _ *rbacv1.Role) field.ErrorList { return validatePolicyRules(r.Rules, true) },
	}.row()
}

// clusterRole is what may be done in all namespaces, outside of them, and with paths. One with an aggregation rule
// is filled from others by a controller.
func clusterRole() *Resource {
	return Kind[*rbacv1.ClusterRole]{
		Resource: Resource{
			Group: rbacv1.GroupName, Plural: "clusterroles", Singular: "clusterrole", Kind: "ClusterRole",
			Prefix: "clusterroles", Governs: true, Versions: []Version{{Name: "v1"}}, CreateOnUpdate: true,
			ValidateName: validateRBACName, UpdateMeta: UpdateAndCreateRules,
		},
		Permit:   permitClusterRole,
		Validate: validateClusterRole,
	}.row()
}

// validateRBACName allows whatever can stand in a URL: names like "system:node" are the rule.
func validateRBACName(name string, _ bool) []string { return content.IsPathSegmentName(name) }

func validateClusterRole(_ *Write, r, old *rbacv1.ClusterRole) field.ErrorList {
	errs := validatePolicyRules(r.Rules, false)
	if r.AggregationRule == nil {
		return errs
	}
	path := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	opts := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: old != nil && hasBadRoleSelector(old)}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		s := &r.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metav1validation.ValidateLabelSelector(s, opts, path.Index(i))...)
		if selector, err := metav1.LabelSelectorAsSelector(s); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), selector, "invalid label selector."))
		}
	}
	return errs
}

// hasBadRoleSelector says whether a stored role has a selector that would be refused today; it may keep it.
func hasBadRoleSelector(r *rbacv1.ClusterRole) bool {
	if r.AggregationRule == nil {
		return false
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		opts := metav1validation.LabelSelectorValidationOptions{}
		if len(metav1validation.ValidateLabelSelector(&r.AggregationRule.ClusterRoleSelectors[i], opts, nil)) > 0 {
			return true
		}
	}
	return false
}

// validatePolicyRules checks a role's rules. Those of a namespaced role cannot speak of paths.
func validatePolicyRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, r := range rules {
		errs = append(errs, validatePolicyRule(r, namespaced, field.NewPath("rules").Index(i))...)
	}
	return errs
}

func validatePolicyRule(r rbacv1.PolicyRule, namespaced bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Verbs) == 0 {
		errs = append(errs, field.Required(path.Child("verbs"), "verbs must contain at least one value"))
	}
	if len(r.NonResourceURLs) > 0 {
		at := path.Child("nonResourceURLs")
		if namespaced {
			errs = append(errs, field.Invalid(at, r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
			errs = append(errs, field.Invalid(at, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return errs
	}
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(path.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(path.Child("resources"), "resource rules must supply at least one resource"))
	}
	return errs
}
