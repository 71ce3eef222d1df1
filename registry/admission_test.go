package registry

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// wantFields compares the fields that errors are about, without regard to their order.
func wantFields(t *testing.T, rule string, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: errors about %v, want %v: %v", rule, got, want, errs.ToAggregate())
	}
}

func TestAdmissionResourcesMayNotOverlap(t *testing.T) {
	for _, c := range []struct {
		rule string
		list string
		want []string
	}{
		{"resources and their sub-resources", "pods pods/status", nil},
		{"everything has no company", "*/* pods", []string{"r"}},
		{"* is all resources", "* pods", []string{"r"}},
		{"* leaves sub-resources", "* pods/status", nil},
		{"pods/* covers later sub-resources of pods", "pods/* pods/status", []string{"r[1]"}},
		{"what came before a pattern is not looked at again", "pods/status pods/*", nil},
		{"*/status covers later status sub-resources", "*/status pods/status", []string{"r[1]"}},
	} {
		wantFields(t, c.rule, validateAdmissionResources(strings.Fields(c.list), field.NewPath("r")), c.want...)
	}
}

func TestWebhooksAreJudgedByLaterRulesOnlyOnceTheyObey(t *testing.T) {
	some, none := admissionv1.SideEffectClassSome, admissionv1.SideEffectClassNone
	url := "https://example.com"
	hook := func(name string, effects *admissionv1.SideEffectClass, versions ...string) admissionv1.MutatingWebhook {
		return admissionv1.MutatingWebhook{Name: name + ".example.com", SideEffects: effects, AdmissionReviewVersions: versions,
			ClientConfig: admissionv1.WebhookClientConfig{URL: &url}}
	}
	w := &Write{Registry: &Registry{}}
	for _, c := range []struct {
		rule     string
		old, now []admissionv1.MutatingWebhook
		want     []string
	}{
		{"a new webhook is harmless", nil, []admissionv1.MutatingWebhook{hook("a", &some, "v1")}, []string{"webhooks[0].sideEffects"}},
		{"an old one with side effects may have others like it", []admissionv1.MutatingWebhook{hook("a", &some, "v1")}, []admissionv1.MutatingWebhook{hook("a", &some, "v1"), hook("b", &some, "v1")}, nil},
		{"once harmless, for ever", []admissionv1.MutatingWebhook{hook("a", &none, "v1")}, []admissionv1.MutatingWebhook{hook("a", &some, "v1")}, []string{"webhooks[0].sideEffects"}},
		{"names that were doubled may stay", []admissionv1.MutatingWebhook{hook("a", &none, "v1"), hook("a", &none, "v1")}, []admissionv1.MutatingWebhook{hook("a", &none, "v1"), hook("a", &none, "v1")}, nil},
		{"review versions that nobody knows may stay", []admissionv1.MutatingWebhook{hook("a", &none, "v7")}, []admissionv1.MutatingWebhook{hook("a", &none, "v7")}, nil},
		{"a new webhook names a known one", nil, []admissionv1.MutatingWebhook{hook("a", &none, "v7")}, []string{"webhooks[0].admissionReviewVersions"}},
	} {
		var old *[]admissionv1.MutatingWebhook
		if c.old != nil {
			old = &c.old
		}
		wantFields(t, c.rule, validateWebhooks(w, c.now, old), c.want...)
	}
}

func TestPolicyExpressionsSeeWhatTheirPlaceOffers(t *testing.T) {
	policy := func(change func(*admissionv1.ValidatingAdmissionPolicySpec)) *admissionv1.ValidatingAdmissionPolicy {
		p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		p.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}}}}
		change(&p.Spec)
		validatingAdmissionPolicy().Complete(p)
		return p
	}
	validation := func(expressions ...string) func(*admissionv1.ValidatingAdmissionPolicySpec) {
		return func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			for _, e := range expressions {
				s.Validations = append(s.Validations, admissionv1.Validation{Expression: e})
			}
		}
	}
	w := &Write{Registry: &Registry{}}
	for _, c := range []struct {
		rule   string
		change func(*admissionv1.ValidatingAdmissionPolicySpec)
		want   []string
	}{
		{"a validation is true or false", validation("1 + 1"), []string{"spec.validations[0].expression"}},
		{"params need a paramKind", validation("params.x == 1"), []string{"spec.validations[0].expression"}},
		{"with a paramKind they are there", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
			validation("params.x == 1")(s)
		}, nil},
		{"variables see those before them", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Variables = []admissionv1.Variable{{Name: "a", Expression: "1"}, {Name: "b", Expression: "variables.a + 1"}}
			validation("variables.b == 2")(s)
		}, nil},
		{"but not those after them", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Variables = []admissionv1.Variable{{Name: "a", Expression: "variables.b"}, {Name: "b", Expression: "1"}}
			validation("true")(s)
		}, []string{"spec.variables[0].expression"}},
		{"messages may not ask the authorizer", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Validations = []admissionv1.Validation{{Expression: "true", MessageExpression: "string(authorizer.path('/').check('get').allowed())"}}
		}, []string{"spec.validations[0].messageExpression"}},
		{"match conditions see no variables", func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.Variables = []admissionv1.Variable{{Name: "a", Expression: "true"}}
			s.MatchConditions = []admissionv1.MatchCondition{{Name: "m", Expression: "variables.a"}}
			validation("true")(s)
		}, []string{"spec.matchConditions[0].expression"}},
	} {
		wantFields(t, c.rule, validateValidatingPolicy(w, policy(c.change), nil), c.want...)
	}
}
