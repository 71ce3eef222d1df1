package registry

import (
	"strings"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/client-go/util/jsonpath"
)

// validatingAdmissionPolicy refuses requests by CEL expressions.
func validatingAdmissionPolicy() *Resource {
	row := admissionPolicyRow("validatingadmissionpolicies", "ValidatingAdmissionPolicy",
		metav1.TableColumnDefinition{Name: "Validations", Type: "integer", Description: "Validations indicates the number of validation rules defined in this configuration"})
	row.Reset = []string{"status"}
	return Kind[*admissionv1.ValidatingAdmissionPolicy]{
		Resource: row,
		Default: func(p *admissionv1.ValidatingAdmissionPolicy) {
			fillPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
			if p.Spec.MatchConstraints != nil {
				defaultMatchResources(p.Spec.MatchConstraints)
			}
		},
		Prepare: func(_ *Write, p, old *admissionv1.ValidatingAdmissionPolicy) {
			p.Status = admissionv1.ValidatingAdmissionPolicyStatus{}
			if old != nil {
				p.Status = old.Status
			}
			bumpGeneration(p, old, old != nil && !equal(p.Spec, old.Spec))
		},
		Validate: validateValidatingPolicy,
		Warn:     func(_ *Write, p, _ *admissionv1.ValidatingAdmissionPolicy) []string { return warnStaticName(p) },
		Cells: func(p *admissionv1.ValidatingAdmissionPolicy) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), paramKindCell(p.Spec.ParamKind), Age{At: p.CreationTimestamp}}
		},
		Status: &Door[*admissionv1.ValidatingAdmissionPolicy]{
			Reset: []string{"spec", "metadata"}, UpdateMeta: NoRules,
			Prepare: func(_ *Write, p, old *admissionv1.ValidatingAdmissionPolicy) {
				p.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
			},
			Validate: validateValidatingPolicyStatus,
			Warn:     func(_ *Write, p, _ *admissionv1.ValidatingAdmissionPolicy) []string { return warnStaticName(p) },
		},
	}.row()
}

// mutatingAdmissionPolicy changes requests by CEL expressions.
func mutatingAdmissionPolicy() *Resource {
	row := admissionPolicyRow("mutatingadmissionpolicies", "MutatingAdmissionPolicy",
		metav1.TableColumnDefinition{Name: "Mutations", Type: "integer", Description: "Mutation indicates the number of mutations rules defined in this configuration"})
	row.StoredVersion = "v1beta1"
	return Kind[*admissionv1.MutatingAdmissionPolicy]{
		Resource: row,
		Default: func(p *admissionv1.MutatingAdmissionPolicy) {
			fillPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
			if p.Spec.MatchConstraints != nil {
				defaultMatchResources(p.Spec.MatchConstraints)
			}
		},
		Prepare: func(_ *Write, p, old *admissionv1.MutatingAdmissionPolicy) {
			bumpGeneration(p, old, old != nil && !equal(p.Spec, old.Spec))
		},
		Validate: validateMutatingPolicy,
		Warn:     func(_ *Write, p, _ *admissionv1.MutatingAdmissionPolicy) []string { return warnStaticName(p) },
		Cells: func(p *admissionv1.MutatingAdmissionPolicy) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), paramKindCell(p.Spec.ParamKind), Age{At: p.CreationTimestamp}}
		},
	}.row()
}

func admissionPolicyRow(plural, kind string, count metav1.TableColumnDefinition) Resource {
	return Resource{
		Group: admissionv1.GroupName, Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Categories: []string{"api-extensions"},
		Prefix: plural, Versions: []Version{{Name: "v1"}}, RequireRevision: true,
		ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules, PlainFinalizers: true,
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			count,
			textColumn("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			ageColumn(),
		},
	}
}

func paramKindCell(kind *admissionv1.ParamKind) string {
	if kind == nil {
		return "<unset>"
	}
	return kind.APIVersion + "/" + kind.Kind
}

// policyCommon is what the two kinds of policies share.
type policyCommon struct {
	failurePolicy *admissionv1.FailurePolicyType
	paramKind     *admissionv1.ParamKind
	constraints   *admissionv1.MatchResources
	conditions    []admissionv1.MatchCondition
}

// validate judges the shared part; the old policy's conditions are not judged again while nothing they see has changed.
func (p policyCommon) validate(w *Write, old *policyCommon, rules expressionRules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.failurePolicy == nil {
		errs = append(errs, field.Required(at.Child("failurePolicy"), ""))
	}
	errs = append(errs, validateOptionalChoice(p.failurePolicy, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	if p.paramKind != nil {
		errs = append(errs, validateParamKind(p.paramKind, at.Child("paramKind"))...)
	}
	constraints := at.Child("matchConstraints")
	if p.constraints == nil {
		errs = append(errs, field.Required(constraints, ""))
	} else {
		errs = append(errs, validateMatchResources(p.constraints, constraints)...)
		if len(p.constraints.ResourceRules) == 0 { // expressions are typed by what the rules name
			errs = append(errs, field.Required(constraints.Child("resourceRules"), ""))
		}
	}
	if old == nil || !equal(p.paramKind, old.paramKind) || !equal(p.conditions, old.conditions) {
		errs = append(errs, validateMatchConditions(w, p.conditions, rules, at.Child("matchConditions"))...)
	}
	return errs
}

func validateParamKind(k *admissionv1.ParamKind, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if k.APIVersion == "" {
		errs = append(errs, field.Required(at.Child("apiVersion"), ""))
	} else {
		errs = append(errs, validateParamVersion(k.APIVersion, at.Child("apiVersion"))...)
	}
	if k.Kind == "" {
		return append(errs, field.Required(at.Child("kind"), ""))
	}
	if msgs := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
	}
	return errs
}

func validateParamVersion(apiVersion string, at *field.Path) field.ErrorList {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return field.ErrorList{field.Invalid(at, apiVersion, err.Error())}
	}
	var errs field.ErrorList
	if gv.Group != "" {
		if msgs := validation.IsDNS1123Subdomain(gv.Group); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, gv.Group, strings.Join(msgs, ",")))
		}
	}
	if gv.Version == "" {
		return append(errs, field.Invalid(at, apiVersion, "version must be specified"))
	}
	if msgs := validation.IsDNS1035Label(gv.Version); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at, gv.Version, strings.Join(msgs, ",")))
	}
	return errs
}

func validatingPolicyBase(s *admissionv1.ValidatingAdmissionPolicySpec) *policyCommon {
	return &policyCommon{s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions}
}

func validateValidatingPolicy(w *Write, p, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	at, spec := field.NewPath("spec"), &p.Spec
	rules := expressionRules{params: spec.ParamKind != nil}
	var before *policyCommon
	var paramBefore *admissionv1.ParamKind
	if old != nil {
		before, paramBefore = validatingPolicyBase(&old.Spec), old.Spec.ParamKind
		keepValidatingExpressions(&rules, &old.Spec)
	}
	errs := validatingPolicyBase(spec).validate(w, before, rules, at)
	compiler := plugincel.Compiler(nil)
	if len(spec.Variables) > 0 {
		compiler = composingCompiler()
	} else {
		compiler = w.Registry.expressions.stateless()
	}
	errs = append(errs, validateVariables(compiler, spec.Variables, rules, at.Child("variables"))...)
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const why = "validations or auditAnnotations must contain at least one item"
		errs = append(errs, field.Required(at.Child("validations"), why), field.Required(at.Child("auditAnnotations"), why))
	}
	for i := range spec.Validations {
		errs = append(errs, validatePolicyValidation(compiler, &spec.Validations[i], rules, at.Child("validations").Index(i))...)
	}
	errs = append(errs, validateAuditAnnotations(compiler, p.Name, spec.AuditAnnotations, rules, at.Child("auditAnnotations"))...)
	return append(errs, authorizeParamKind(w, spec.ParamKind, paramBefore, errs)...)
}

func keepValidatingExpressions(rules *expressionRules, old *admissionv1.ValidatingAdmissionPolicySpec) {
	rules.keepConditions(old.MatchConditions)
	for _, v := range old.Validations {
		rules.keep(inValidation, v.Expression)
		rules.keep(inMessage, v.MessageExpression)
	}
	for _, a := range old.AuditAnnotations {
		rules.keep(inAuditAnnotation, a.ValueExpression)
	}
}

func validatePolicyValidation(compiler plugincel.Compiler, v *admissionv1.Validation, rules expressionRules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	compile := func(place expressionPlace, text string, authorizer bool, at *field.Path, types ...*celgo.Type) {
		result := compiler.CompileCELExpression(expression{text: text, types: types},
			plugincel.OptionalVariableDeclarations{HasParams: rules.params, HasAuthorizer: authorizer}, rules.environment(place, text))
		errs = append(errs, expressionError(at, text, result.Error)...)
	}
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	} else {
		compile(inValidation, v.Expression, true, at.Child("expression"), celgo.BoolType)
	}
	const blank = "must be non-empty if specified"
	switch {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, blank))
	default:
		compile(inMessage, v.MessageExpression, false, at.Child("messageExpression"), celgo.StringType)
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, blank))
	case strings.ContainsAny(message, "\n\r"):
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "must not contain line breaks"))
	}
	return append(errs, validateOptionalChoice(v.Reason, at.Child("reason"),
		metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
}

func validateAuditAnnotations(compiler plugincel.Compiler, policy string, list []admissionv1.AuditAnnotation, rules expressionRules, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) > 20 {
		errs = append(errs, field.Invalid(at, list, "must not have more than 20 auditAnnotations"))
	}
	keys := sets.New[string]()
	for i, a := range list {
		key := at.Index(i).Child("key")
		if policy == "" {
			errs = append(errs, field.Invalid(key, a.Key, "requires metadata.name be non-empty"))
		} else {
			errs = append(errs, validateQualifiedName(policy+"/"+a.Key, key)...)
		}
		errs = append(errs, validateAuditValue(compiler, a.ValueExpression, rules, at.Index(i).Child("valueExpression"))...)
		if keys.Has(a.Key) {
			errs = append(errs, field.Duplicate(key, a.Key))
		}
		keys.Insert(a.Key)
	}
	return errs
}

func validateAuditValue(compiler plugincel.Compiler, value string, rules expressionRules, at *field.Path) field.ErrorList {
	text := strings.TrimSpace(value)
	switch {
	case text == "":
		return field.ErrorList{field.Required(at, "valueExpression is not specified")}
	case len(text) > 5*1024:
		return field.ErrorList{field.Required(at, "must not exceed 5120 bytes in length")}
	}
	result := compiler.CompileCELExpression(expression{text: text, types: []*celgo.Type{celgo.StringType, celgo.NullType}},
		plugincel.OptionalVariableDeclarations{HasParams: rules.params, HasAuthorizer: true}, rules.environment(inAuditAnnotation, value))
	return expressionError(at, value, result.Error)
}

func validateValidatingPolicyStatus(_ *Write, p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	at := field.NewPath("status")
	var errs field.ErrorList
	if t := p.Status.TypeChecking; t != nil {
		for i, warning := range t.ExpressionWarnings {
			at := at.Child("typeChecking", "expressionWarnings").Index(i)
			errs = append(errs, validateRequired(warning.Warning, at.Child("warning"))...)
			errs = append(errs, validateWarnedField(strings.TrimSpace(warning.FieldRef), at.Child("fieldRef"))...)
		}
	}
	return append(errs, metav1validation.ValidateConditions(p.Status.Conditions, at.Child("conditions"))...)
}

func validateWarnedField(ref string, at *field.Path) field.ErrorList {
	if ref == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		return field.ErrorList{field.Invalid(at, ref, "invalid JSONPath: "+err.Error())}
	}
	return nil
}

func mutatingPolicyBase(s *admissionv1.MutatingAdmissionPolicySpec) *policyCommon {
	return &policyCommon{s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions}
}

func validateMutatingPolicy(w *Write, p, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	at, spec := field.NewPath("spec"), &p.Spec
	rules := expressionRules{params: spec.ParamKind != nil}
	var before *policyCommon
	var paramBefore *admissionv1.ParamKind
	if old != nil {
		before, paramBefore = mutatingPolicyBase(&old.Spec), old.Spec.ParamKind
		rules.keepConditions(old.Spec.MatchConditions)
		for _, m := range old.Spec.Mutations {
			if m.ApplyConfiguration != nil {
				rules.keep(inApplyConfiguration, m.ApplyConfiguration.Expression)
			}
		}
	}
	errs := mutatingPolicyBase(spec).validate(w, before, rules, at)
	if spec.MatchConstraints != nil {
		errs = append(errs, validateMutableOperations(spec.MatchConstraints, at.Child("matchConstraints"))...)
	}
	compiler := composingCompiler()
	errs = append(errs, validateVariables(compiler, spec.Variables, rules, at.Child("variables"))...)
	if len(spec.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range spec.Mutations {
		errs = append(errs, validateMutation(compiler, &spec.Mutations[i], rules, at.Child("mutations").Index(i))...)
	}
	errs = append(errs, validateRequiredChoice(spec.ReinvocationPolicy, at.Child("reinvocationPolicy"),
		admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
	return append(errs, authorizeParamKind(w, spec.ParamKind, paramBefore, errs)...)
}

// validateMutation wants the patch that the type names, and not the other.
func validateMutation(compiler plugincel.Compiler, m *admissionv1.Mutation, rules expressionRules, at *field.Path) field.ErrorList {
	apply, patch := at.Child("applyConfiguration"), at.Child("jsonPatch")
	var errs field.ErrorList
	switch m.PatchType {
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			errs = append(errs, field.Required(patch, "must be specified when patchType is JSONPatch"))
		} else {
			errs = append(errs, validatePatchExpression(compiler, m.JSONPatch.Expression, celgo.ListType(celgo.ObjectType("JSONPatch")), rules, patch)...)
		}
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch"))
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			errs = append(errs, field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		} else {
			errs = append(errs, validatePatchExpression(compiler, m.ApplyConfiguration.Expression, celgo.ObjectType("Object"), rules, apply)...)
		}
		if m.JSONPatch != nil {
			errs = append(errs, field.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration"))
		}
	default:
		errs = append(errs, validateRequiredChoice(m.PatchType, at.Child("patchType"),
			admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)...)
	}
	return errs
}

func validatePatchExpression(compiler plugincel.Compiler, value string, result *celgo.Type, rules expressionRules, at *field.Path) field.ErrorList {
	at = at.Child("expression")
	text := strings.TrimSpace(value)
	if text == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	compiled := compiler.CompileCELExpression(expression{text: text, types: []*celgo.Type{result}},
		plugincel.OptionalVariableDeclarations{HasParams: rules.params, HasAuthorizer: true, HasPatchTypes: true},
		rules.environment(inApplyConfiguration, value))
	return expressionError(at, text, compiled.Error)
}
