package registry

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatingAdmissionPolicyBinding puts a policy to use, with parameters.
func validatingAdmissionPolicyBinding() *Resource {
	return Kind[*admissionv1.ValidatingAdmissionPolicyBinding]{
		Resource: policyBindingRow("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
		Default: func(b *admissionv1.ValidatingAdmissionPolicyBinding) {
			if b.Spec.MatchResources != nil {
				defaultMatchResources(b.Spec.MatchResources)
			}
		},
		Prepare: func(_ *Write, b, old *admissionv1.ValidatingAdmissionPolicyBinding) {
			bumpGeneration(b, old, old != nil && !equal(b.Spec, old.Spec))
		},
		Validate: func(w *Write, b, old *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
			errs := policyBindingOf(&b.Spec).validate(field.NewPath("spec"))
			errs = append(errs, validateValidationActions(b.Spec.ValidationActions, field.NewPath("spec", "validationActions"))...)
			var before policyBinding
			if old != nil {
				before = policyBindingOf(&old.Spec)
			}
			return append(errs, authorizeParamRef(w, policyBindingOf(&b.Spec), before, errs)...)
		},
		Warn:  func(_ *Write, b, _ *admissionv1.ValidatingAdmissionPolicyBinding) []string { return warnStaticName(b) },
		Cells: func(b *admissionv1.ValidatingAdmissionPolicyBinding) []any { return policyBindingOf(&b.Spec).cells(b) },
	}.row()
}

// mutatingAdmissionPolicyBinding puts a mutating policy to use, with parameters.
func mutatingAdmissionPolicyBinding() *Resource {
	row := policyBindingRow("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")
	row.StoredVersion = "v1beta1"
	return Kind[*admissionv1.MutatingAdmissionPolicyBinding]{
		Resource: row,
		Default: func(b *admissionv1.MutatingAdmissionPolicyBinding) {
			if b.Spec.MatchResources != nil {
				defaultMatchResources(b.Spec.MatchResources)
			}
		},
		Prepare: func(_ *Write, b, old *admissionv1.MutatingAdmissionPolicyBinding) {
			bumpGeneration(b, old, old != nil && !equal(b.Spec, old.Spec))
		},
		Validate: func(w *Write, b, old *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
			errs := mutatingBindingOf(&b.Spec).validate(field.NewPath("spec"))
			if b.Spec.MatchResources != nil {
				errs = append(errs, validateMutableOperations(b.Spec.MatchResources, field.NewPath("spec", "matchResources"))...)
			}
			var before policyBinding
			if old != nil {
				before = mutatingBindingOf(&old.Spec)
			}
			return append(errs, authorizeParamRef(w, mutatingBindingOf(&b.Spec), before, errs)...)
		},
		Warn:  func(_ *Write, b, _ *admissionv1.MutatingAdmissionPolicyBinding) []string { return warnStaticName(b) },
		Cells: func(b *admissionv1.MutatingAdmissionPolicyBinding) []any { return mutatingBindingOf(&b.Spec).cells(b) },
	}.row()
}

func policyBindingRow(plural, kind string) Resource {
	return Resource{
		Group: admissionv1.GroupName, Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Categories: []string{"api-extensions"},
		Prefix: plural, Versions: []Version{{Name: "v1"}}, RequireRevision: true,
		ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules, PlainFinalizers: true,
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			textColumn("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
			textColumn("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
			ageColumn(),
		},
	}
}

// policyBinding is what the two kinds of bindings share.
type policyBinding struct {
	policies string // the plural of the policy's kind
	policy   string
	params   *admissionv1.ParamRef
	match    *admissionv1.MatchResources
}

func policyBindingOf(s *admissionv1.ValidatingAdmissionPolicyBindingSpec) policyBinding {
	return policyBinding{"validatingadmissionpolicies", s.PolicyName, s.ParamRef, s.MatchResources}
}

func mutatingBindingOf(s *admissionv1.MutatingAdmissionPolicyBindingSpec) policyBinding {
	return policyBinding{"mutatingadmissionpolicies", s.PolicyName, s.ParamRef, s.MatchResources}
}

func (b policyBinding) cells(of Object) []any {
	params := "<unset>"
	switch r := b.params; {
	case r == nil:
	case r.Name != "" && r.Namespace != "":
		params = r.Namespace + "/" + r.Name
	case r.Name != "":
		params = "*/" + r.Name
	case r.Selector != nil:
		params = r.Selector.String()
	}
	return []any{of.GetName(), b.policy, params, Age{At: of.GetCreationTimestamp()}}
}

func (b policyBinding) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if b.policy == "" {
		errs = append(errs, field.Required(at.Child("policyName"), ""))
	} else {
		errs = append(errs, invalidValue(at.Child("policyName"), b.policy, apivalidation.NameIsDNSSubdomain(b.policy, false))...)
	}
	if b.params != nil {
		errs = append(errs, validateParamRef(b.params, at.Child("paramRef"))...)
	}
	if b.match != nil {
		errs = append(errs, validateMatchResources(b.match, at.Child("matchResources"))...)
	}
	return errs
}

func validateParamRef(r *admissionv1.ParamRef, at *field.Path) field.ErrorList {
	const both = "name and selector are mutually exclusive"
	var errs field.ErrorList
	if r.Name != "" {
		errs = append(errs, invalidValue(at.Child("name"), r.Name, path.IsValidPathSegmentName(r.Name))...)
	}
	if r.Selector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(r.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	switch {
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(at.Child("name"), both), field.Forbidden(at.Child("selector"), both))
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	action := at.Child("parameterNotFoundAction")
	if r.ParameterNotFoundAction == nil {
		return append(errs, field.Required(action, ""))
	}
	return append(errs, validateRequiredChoice(*r.ParameterNotFoundAction, action, admissionv1.DenyAction, admissionv1.AllowAction)...)
}

func validateValidationActions(list []admissionv1.ValidationAction, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[admissionv1.ValidationAction]()
	for i, action := range list {
		errs = append(errs, validateChoice(action, at.Index(i), admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)...)
		if seen.Has(action) {
			errs = append(errs, field.Duplicate(at.Index(i), action))
		}
		seen.Insert(action)
	}
	if seen.HasAll(admissionv1.Deny, admissionv1.Warn) {
		errs = append(errs, field.Invalid(at, list, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(list) == 0 {
		errs = append(errs, field.Required(at, "at least one validation action is required"))
	}
	return errs
}
