package registry

import (
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

// The two kinds of webhook configurations differ in one field: a mutating webhook may be invoked again. So a
// validating webhook is treated as a mutating one that says nothing of it.

// mutatingWebhookConfiguration names programs that may change requests.
func mutatingWebhookConfiguration() *Resource {
	return Kind[*admissionv1.MutatingWebhookConfiguration]{
		Resource: webhookRow("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
		Default: func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				defaultWebhook(&c.Webhooks[i])
				fillPointer(&c.Webhooks[i].ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			}
		},
		Prepare: func(_ *Write, c, old *admissionv1.MutatingWebhookConfiguration) {
			bumpGeneration(c, old, old != nil && !reflect.DeepEqual(c.Webhooks, old.Webhooks)) // an empty list is not none
		},
		Validate: func(w *Write, c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			if old == nil {
				return validateWebhooks(w, c.Webhooks, nil)
			}
			return validateWebhooks(w, c.Webhooks, &old.Webhooks)
		},
		Warn: func(_ *Write, c, _ *admissionv1.MutatingWebhookConfiguration) []string { return warnStaticName(c) },
		Cells: func(c *admissionv1.MutatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), Age{At: c.CreationTimestamp}}
		},
	}.row()
}

// validatingWebhookConfiguration names programs that may refuse requests.
func validatingWebhookConfiguration() *Resource {
	return Kind[*admissionv1.ValidatingWebhookConfiguration]{
		Resource: webhookRow("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
		Default: func(c *admissionv1.ValidatingWebhookConfiguration) {
			for i := range c.Webhooks {
				hook := asMutatingWebhook(c.Webhooks[i])
				defaultWebhook(&hook)
				c.Webhooks[i] = asValidatingWebhook(hook)
			}
		},
		Prepare: func(_ *Write, c, old *admissionv1.ValidatingWebhookConfiguration) {
			bumpGeneration(c, old, old != nil && !reflect.DeepEqual(c.Webhooks, old.Webhooks)) // an empty list is not none
		},
		Validate: func(w *Write, c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			hooks := asMutatingWebhooks(c.Webhooks)
			if old == nil {
				return validateWebhooks(w, hooks, nil)
			}
			before := asMutatingWebhooks(old.Webhooks)
			return validateWebhooks(w, hooks, &before)
		},
		Warn: func(_ *Write, c, _ *admissionv1.ValidatingWebhookConfiguration) []string { return warnStaticName(c) },
		Cells: func(c *admissionv1.ValidatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), Age{At: c.CreationTimestamp}}
		},
	}.row()
}

func webhookRow(plural, kind string) Resource {
	return Resource{
		Group: admissionv1.GroupName, Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Categories: []string{"api-extensions"},
		Prefix: plural, Versions: []Version{{Name: "v1"}}, RequireRevision: true,
		LossyJSON:    true, // an empty caBundle is not none
		ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules, PlainFinalizers: true,
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			{Name: "Webhooks", Type: "integer", Description: "Webhooks indicates the number of webhooks registered in this configuration"},
			ageColumn(),
		},
	}
}

func asMutatingWebhook(h admissionv1.ValidatingWebhook) admissionv1.MutatingWebhook {
	return admissionv1.MutatingWebhook{
		Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
		NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
		TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
	}
}

func asValidatingWebhook(h admissionv1.MutatingWebhook) admissionv1.ValidatingWebhook {
	return admissionv1.ValidatingWebhook{
		Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
		NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
		TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
	}
}

func asMutatingWebhooks(list []admissionv1.ValidatingWebhook) []admissionv1.MutatingWebhook {
	var out []admissionv1.MutatingWebhook
	for _, h := range list {
		out = append(out, asMutatingWebhook(h))
	}
	return out
}

func defaultWebhook(h *admissionv1.MutatingWebhook) {
	fillPointer(&h.FailurePolicy, admissionv1.Fail)
	fillPointer(&h.MatchPolicy, admissionv1.Equivalent)
	fillPointer(&h.NamespaceSelector, metav1.LabelSelector{})
	fillPointer(&h.ObjectSelector, metav1.LabelSelector{})
	fillPointer(&h.TimeoutSeconds, 10)
	if h.ClientConfig.Service != nil {
		fillPointer(&h.ClientConfig.Service.Port, 443)
	}
	for i := range h.Rules {
		defaultAdmissionRule(&h.Rules[i].Rule)
	}
}

// webhookRules are those that came with later releases: what was stored before is not judged by them until it obeys.
type webhookRules struct {
	harmless         bool // only webhooks without side effects
	knownVersion     bool // one of the review versions is understood
	uniqueNames      bool
	anyLabelValue    bool // selectors may name values that no label can have
	ignoreConditions bool
	conditions       expressionRules
}

// webhookRulesFor applies all rules to new objects (old is nil), and those that the old object obeyed to others.
func webhookRulesFor(hooks []admissionv1.MutatingWebhook, old *[]admissionv1.MutatingWebhook) webhookRules {
	if old == nil {
		return webhookRules{harmless: true, knownVersion: true, uniqueNames: true}
	}
	rules := webhookRules{harmless: true, knownVersion: true, uniqueNames: true, ignoreConditions: len(hooks) == len(*old)}
	names := sets.New[string]()
	for i, h := range *old {
		rules.harmless = rules.harmless && h.SideEffects != nil && webhookIsHarmless(*h.SideEffects)
		rules.knownVersion = rules.knownVersion && (len(h.AdmissionReviewVersions) == 0 || knowsReviewVersion(h.AdmissionReviewVersions))
		rules.uniqueNames = rules.uniqueNames && !names.Has(h.Name)
		rules.anyLabelValue = rules.anyLabelValue || len(validateWebhookSelectors(&h, false, nil)) > 0
		rules.ignoreConditions = rules.ignoreConditions && equalConditions(hooks[i].MatchConditions, h.MatchConditions)
		rules.conditions.keepConditions(h.MatchConditions)
		names.Insert(h.Name)
	}
	return rules
}

func webhookIsHarmless(s admissionv1.SideEffectClass) bool {
	return s == admissionv1.SideEffectClassNone || s == admissionv1.SideEffectClassNoneOnDryRun
}

// knowsReviewVersion finds a version of AdmissionReview that the server speaks.
func knowsReviewVersion(versions []string) bool {
	return sets.New("v1", "v1beta1").HasAny(versions...)
}

func validateWebhooks(w *Write, hooks []admissionv1.MutatingWebhook, old *[]admissionv1.MutatingWebhook) field.ErrorList {
	var errs field.ErrorList
	rules := webhookRulesFor(hooks, old)
	names := sets.New[string]()
	for i := range hooks {
		h, at := &hooks[i], field.NewPath("webhooks").Index(i)
		errs = append(errs, validateWebhook(w, h, rules, at)...)
		errs = append(errs, validateReviewVersions(h.AdmissionReviewVersions, rules.knownVersion, at.Child("admissionReviewVersions"))...)
		if rules.uniqueNames && h.Name != "" && names.Has(h.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), h.Name))
		}
		names.Insert(h.Name)
	}
	return errs
}

func validateWebhook(w *Write, h *admissionv1.MutatingWebhook, rules webhookRules, at *field.Path) field.ErrorList {
	errs := validation.IsFullyQualifiedName(at.Child("name"), h.Name)
	for i := range h.Rules {
		errs = append(errs, validateAdmissionRule(&h.Rules[i], at.Child("rules").Index(i))...)
	}
	errs = append(errs, validateOptionalChoice(h.FailurePolicy, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	errs = append(errs, validateOptionalChoice(h.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	errs = append(errs, validateOptionalChoice(h.ReinvocationPolicy, at.Child("reinvocationPolicy"),
		admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
	errs = append(errs, validateSideEffects(h.SideEffects, rules.harmless, at.Child("sideEffects"))...)
	if t := h.TimeoutSeconds; t != nil && (*t > 30 || *t < 1) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, validateWebhookSelectors(h, rules.anyLabelValue, at)...)
	errs = append(errs, validateWebhookClient(&h.ClientConfig, at.Child("clientConfig"))...)
	if !rules.ignoreConditions {
		errs = append(errs, validateMatchConditions(w, h.MatchConditions, rules.conditions, at.Child("matchConditions"))...)
	}
	return errs
}

func validateSideEffects(s *admissionv1.SideEffectClass, harmless bool, at *field.Path) field.ErrorList {
	choices := []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	words := "None, NoneOnDryRun"
	if !harmless {
		choices = append(choices, admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown)
		words += ", Some, Unknown"
	}
	if s == nil {
		return field.ErrorList{field.Required(at, "must specify one of "+words)}
	}
	return validateChoice(*s, at, choices...)
}

func validateWebhookSelectors(h *admissionv1.MutatingWebhook, anyValue bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: anyValue}
	if h.NamespaceSelector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(h.NamespaceSelector, options, at.Child("namespaceSelector"))...)
	}
	if h.ObjectSelector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(h.ObjectSelector, options, at.Child("objectSelector"))...)
	}
	return errs
}

func validateWebhookClient(c *admissionv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch s := c.Service; {
	case (c.URL == nil) == (s == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case s != nil:
		port := int32(0)
		if s.Port != nil {
			port = *s.Port
		}
		return webhook.ValidateWebhookService(at.Child("service"), s.Name, s.Namespace, s.Path, port)
	}
	return webhook.ValidateWebhookURL(at.Child("url"), *c.URL, true)
}

func validateReviewVersions(versions []string, knownVersion bool, at *field.Path) field.ErrorList {
	const spoken = "v1, v1beta1"
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+spoken)}
	}
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, v := range versions {
		if seen.Has(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		seen.Insert(v)
		errs = append(errs, invalidValue(at.Index(i), v, validation.IsDNS1035Label(v))...)
	}
	if knownVersion && !knowsReviewVersion(versions) {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+spoken))
	}
	return errs
}
