package registry

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateFlowSchema(w *Write, s, old *flowcontrolv1.FlowSchema) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateFlowSchemaSpec(s, path)
	for _, fixed := range mandatoryFlowSchemas() {
		if fixed.Name == s.Name && !equal(s.Spec, fixed.Spec) {
			errs = append(errs, field.Invalid(path, s.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name)))
		}
	}
	return append(errs, validateFlowSchemaStatus(w, s, old)...)
}

func validateFlowSchemaStatus(_ *Write, s, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	var types []string
	for _, c := range s.Status.Conditions {
		types = append(types, string(c.Type))
	}
	return validateConditionTypes(types, field.NewPath("status", "conditions"))
}

// validateConditionTypes wants types, each once.
func validateConditionTypes(types []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, t := range types {
		if seen.Has(t) {
			errs = append(errs, field.Duplicate(path.Index(i).Child("type"), t))
		}
		seen.Insert(t)
		errs = append(errs, validateRequired(t, path.Index(i).Child("type"))...)
	}
	return errs
}

func validateFlowSchemaSpec(s *flowcontrolv1.FlowSchema, path *field.Path) field.ErrorList {
	spec, precedence := &s.Spec, path.Child("matchingPrecedence")
	var errs field.ErrorList
	switch p := spec.MatchingPrecedence; {
	case p <= 0:
		errs = append(errs, field.Invalid(precedence, p, "must be a positive value"))
	case p > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		errs = append(errs, field.Invalid(precedence, p, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	case p == 1 && s.Name != flowcontrolv1.FlowSchemaNameExempt:
		errs = append(errs, field.Invalid(precedence, p, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := spec.DistinguisherMethod; m != nil {
		methods := []flowcontrolv1.FlowDistinguisherMethodType{
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}
		if !slices.Contains(methods, m.Type) {
			errs = append(errs, field.NotSupported(path.Child("distinguisherMethod", "type"), m, methods))
		}
	}
	level := path.Child("priorityLevelConfiguration", "name")
	if name := spec.PriorityLevelConfiguration.Name; name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		errs = append(errs, invalidValue(level, name, apivalidation.NameIsDNSSubdomain(name, false))...)
	}
	for i := range spec.Rules {
		errs = append(errs, validateFlowRule(&spec.Rules[i], path.Child("rules").Index(i))...)
	}
	return errs
}

// validateFlowRule wants somebody who does something.
func validateFlowRule(r *flowcontrolv1.PolicyRulesWithSubjects, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(path.Child("subjects"), "subjects must contain at least one value"))
	}
	for i, s := range r.Subjects {
		errs = append(errs, validateFlowSubject(s, path.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i, rule := range r.ResourceRules {
		errs = append(errs, validateFlowResources(rule, path.Child("resourceRules").Index(i))...)
	}
	for i, rule := range r.NonResourceRules {
		errs = append(errs, validateFlowPaths(rule, path.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

// validateFlowSubject wants the member of the union that kind names, and no other.
func validateFlowSubject(s flowcontrolv1.Subject, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := false
	for _, m := range []struct {
		kind flowcontrolv1.SubjectKind
		name string
		set  bool
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	} {
		known = known || m.kind == s.Kind
		switch {
		case m.kind == s.Kind && !m.set:
			errs = append(errs, field.Required(path.Child(m.name), fmt.Sprintf("%s is required when subject kind is '%s'", m.name, m.kind)))
		case m.kind == s.Kind:
			errs = append(errs, validateFlowIdentity(s, path.Child(m.name))...)
		case m.set:
			errs = append(errs, field.Forbidden(path.Child(m.name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.name, m.kind)))
		}
	}
	if !known {
		return field.ErrorList{field.NotSupported(path.Child("kind"), s.Kind, []flowcontrolv1.SubjectKind{
			flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser})}
	}
	return errs
}

// validateFlowIdentity checks the names in the member that the subject's kind names.
func validateFlowIdentity(s flowcontrolv1.Subject, path *field.Path) field.ErrorList {
	switch s.Kind {
	case flowcontrolv1.SubjectKindUser:
		return validateRequired(s.User.Name, path.Child("name"))
	case flowcontrolv1.SubjectKindGroup:
		return validateRequired(s.Group.Name, path.Child("name"))
	}
	name, namespace := s.ServiceAccount.Name, s.ServiceAccount.Namespace
	errs := validateRequired(name, path.Child("name"))
	if name != "" && name != flowcontrolv1.NameAll {
		errs = append(errs, invalidValue(path.Child("name"), name, apivalidation.ValidateServiceAccountName(name, false))...)
	}
	if namespace == "" {
		return append(errs, field.Required(path.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, invalidValue(path.Child("namespace"), namespace, apivalidation.ValidateNamespaceName(namespace, false))...)
}

func validateFlowVerbs(verbs []string, path *field.Path) field.ErrorList {
	known := []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	switch {
	case len(verbs) == 0:
		return field.ErrorList{field.Required(path, "verbs must contain at least one value")}
	case slices.Contains(verbs, flowcontrolv1.VerbAll):
		return validateFlowWildcard(verbs, path, "verbs")
	case !sets.New(known...).HasAll(verbs...):
		return field.ErrorList{field.NotSupported(path, verbs, known)}
	}
	return nil
}

// validateFlowWildcard wants "*" to stand alone.
func validateFlowWildcard(values []string, path *field.Path, noun string) field.ErrorList {
	if len(values) > 1 && slices.Contains(values, "*") {
		return field.ErrorList{field.Invalid(path, values, "if '*' is present, must not specify other "+noun)}
	}
	return nil
}

func validateFlowResources(r flowcontrolv1.ResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateFlowVerbs(r.Verbs, path.Child("verbs"))
	groups, resources, namespaces := path.Child("apiGroups"), path.Child("resources"), path.Child("namespaces")
	if len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(groups, "resource rules must supply at least one api group"))
	}
	errs = append(errs, validateFlowWildcard(r.APIGroups, groups, "api groups")...)
	if len(r.Resources) == 0 {
		errs = append(errs, field.Required(resources, "resource rules must supply at least one resource"))
	}
	errs = append(errs, validateFlowWildcard(r.Resources, resources, "resources")...)
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		errs = append(errs, field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	case slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery):
		errs = append(errs, validateFlowWildcard(r.Namespaces, namespaces, "namespaces")...)
	default:
		for i, name := range r.Namespaces {
			for _, msg := range apivalidation.ValidateNamespaceName(name, false) {
				errs = append(errs, field.Invalid(namespaces.Index(i), name, "each member of this list must be '*' or a DNS-1123 label; "+msg))
			}
		}
	}
	return errs
}

func validateFlowPaths(r flowcontrolv1.NonResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateFlowVerbs(r.Verbs, path.Child("verbs"))
	urls := path.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		errs = append(errs, field.Required(urls, "nonResourceURLs must contain at least one value"))
	case slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll):
		errs = append(errs, validateFlowWildcard(r.NonResourceURLs, urls, "non-resource URLs")...)
	default:
		for i, url := range r.NonResourceURLs {
			if why := badFlowPath(url); why != "" {
				errs = append(errs, field.Invalid(urls.Index(i), url, why))
			}
		}
	}
	return errs
}

// badFlowPath says what is wrong with a path pattern; empty if nothing is. A "*" can only be its last part.
func badFlowPath(path string) string {
	stars := strings.Count(path, "*")
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
