package registry

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What webhooks and admission policies share: rules, which say what requests are meant, and their defaults.

// anyOf is what stands in a list for everything; it may not have company.
const anyOf = "*"

func defaultAdmissionRule(r *admissionv1.Rule) { fillPointer(&r.Scope, admissionv1.AllScopes) }

func defaultMatchResources(m *admissionv1.MatchResources) {
	fillPointer(&m.MatchPolicy, admissionv1.Equivalent)
	fillPointer(&m.NamespaceSelector, metav1.LabelSelector{})
	fillPointer(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			defaultAdmissionRule(&rules[i].Rule)
		}
	}
}

func validateMatchResources(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.MatchPolicy == nil {
		errs = append(errs, field.Required(at.Child("matchPolicy"), ""))
	}
	errs = append(errs, validateOptionalChoice(m.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if s.selector == nil {
			errs = append(errs, field.Required(at.Child(s.name), ""))
			continue
		}
		errs = append(errs, metav1validation.ValidateLabelSelector(s.selector, metav1validation.LabelSelectorValidationOptions{}, at.Child(s.name))...)
	}
	for i := range m.ResourceRules {
		errs = append(errs, validateNamedAdmissionRule(&m.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range m.ExcludeResourceRules {
		errs = append(errs, validateNamedAdmissionRule(&m.ExcludeResourceRules[i], at.Child("excludeResourceRules").Index(i))...)
	}
	return errs
}

// validateMutableOperations: what is deleted cannot be changed on the way.
func validateMutableOperations(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, rule := range m.ResourceRules {
		for _, operation := range rule.Operations {
			errs = append(errs, validateChoice(operation, at.Child("resourceRules", "operations"),
				admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)...)
		}
	}
	return errs
}

func validateNamedAdmissionRule(r *admissionv1.NamedRuleWithOperations, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, name := range r.ResourceNames {
		errs = append(errs, invalidValue(at.Child("resourceNames").Index(i), name, path.IsValidPathSegmentName(name))...)
		if seen.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(i), name))
		}
		seen.Insert(name)
	}
	return append(errs, validateAdmissionRule(&r.RuleWithOperations, at)...)
}

func validateAdmissionRule(r *admissionv1.RuleWithOperations, at *field.Path) field.ErrorList {
	errs := validateOnlyWildcard(r.Operations, at.Child("operations"), "operations")
	for i, operation := range r.Operations {
		errs = append(errs, validateChoice(operation, at.Child("operations").Index(i),
			admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)...)
	}
	errs = append(errs, validateOnlyWildcard(r.APIGroups, at.Child("apiGroups"), "API groups")...) // the empty group is core
	errs = append(errs, validateOnlyWildcard(r.APIVersions, at.Child("apiVersions"), "API versions")...)
	for i, version := range r.APIVersions {
		errs = append(errs, validateRequired(version, at.Child("apiVersions").Index(i))...)
	}
	errs = append(errs, validateAdmissionResources(r.Resources, at.Child("resources"))...)
	return append(errs, validateOptionalChoice(r.Scope, at.Child("scope"),
		admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)...)
}

// validateOnlyWildcard wants a list with items, and beside "*" no other.
func validateOnlyWildcard[T ~string](list []T, at *field.Path, noun string) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(list) > 1 && slices.Contains(list, anyOf) {
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other "+noun)}
	}
	return nil
}

// validateAdmissionResources wants resources ("pods"), sub-resources ("pods/status") and patterns of both ("*", "pods/*",
// "*/status", "*/*"), none of which an earlier pattern covers already.
func validateAdmissionResources(list []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	allSubresourcesOf, allResourcesWith := sets.New[string](), sets.New[string]()
	plain := false // whether the last resource without sub-resource is other than "*"
	for i, entry := range list {
		if entry == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		resource, sub, isSub := strings.Cut(entry, "/")
		if !isSub {
			plain = entry != anyOf
			continue
		}
		if allSubresourcesOf.Has(resource) {
			errs = append(errs, field.Invalid(at.Index(i), entry, "if '"+resource+"/*' is present, must not specify "+entry))
		}
		if allResourcesWith.Has(sub) {
			errs = append(errs, field.Invalid(at.Index(i), entry, "if '*/"+sub+"' is present, must not specify "+entry))
		}
		if sub == anyOf {
			allSubresourcesOf.Insert(resource)
		}
		if resource == anyOf {
			allResourcesWith.Insert(sub)
		}
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(at, list, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(list, anyOf) {
		errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

// warnStaticName warns of names that are meant for policies kept in files.
func warnStaticName(o Object) []string {
	const suffix = ".static.k8s.io"
	if !strings.HasSuffix(o.GetName(), suffix) {
		return nil
	}
	return []string{`metadata.name: names ending with "` + suffix + `" are reserved for static manifest-based configurations and cannot be managed via the API`}
}
