package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	authorizationv1beta1 "k8s.io/api/authorization/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	operators "k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/cache"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// webhookAuthorizer asks a service elsewhere, by a SubjectAccessReview, about those requests that its conditions match.
// Answers, but no errors, are remembered for a while.
type webhookAuthorizer struct {
	service    *Webhook
	version    string // of the review
	conditions *matchConditions
	onError    registry.Decision

	answers         *cache.LRUExpireCache // statuses by the digest of what was asked
	allowed, others time.Duration         // how long they are kept; 0 keeps none
}

const (
	// maxAnswers bounds what is remembered.
	maxAnswers = 8192
	// maxAsked is the length from which what a client made up of a request is not worth remembering.
	maxAsked = 10000
)

// newWebhookAuthorizer reads the kubeconfig that leads to the service. The configuration is valid.
func newWebhookAuthorizer(c *apiserverv1.WebhookConfiguration) (*webhookAuthorizer, error) {
	w := &webhookAuthorizer{version: c.SubjectAccessReviewVersion, answers: cache.NewLRUExpireCache(maxAnswers), onError: registry.NoOpinion}
	if c.ConnectionInfo.Type == apiserverv1.AuthorizationWebhookConnectionInfoTypeInCluster {
		return nil, errors.New("connectionInfo of type InClusterConfig leads an API server to itself: use KubeConfigFile")
	}
	if c.FailurePolicy == apiserverv1.FailurePolicyDeny {
		w.onError = registry.Deny
	}
	if ptr.Deref(c.CacheAuthorizedRequests, true) {
		w.allowed = c.AuthorizedTTL.Duration
	}
	if ptr.Deref(c.CacheUnauthorizedRequests, true) {
		w.others = c.UnauthorizedTTL.Duration
	}
	var err error
	if w.conditions, err = compileConditions(c.MatchConditions); err != nil {
		return nil, err
	}
	if w.service, err = OpenWebhook(*c.ConnectionInfo.KubeConfigFile); err != nil {
		return nil, err
	}
	if patience := c.Timeout.Duration; patience > 0 {
		w.service.client.Timeout = patience
	}
	return w, nil
}

// Authorize asks the conditions, the memory, the service. What cannot be found out is decided as the configuration says.
func (w *webhookAuthorizer) Authorize(ctx context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	spec := accessReviewed(a)
	matches, err := w.conditions.match(ctx, &spec)
	if err != nil {
		return w.onError, "", err
	}
	if !matches {
		return registry.NoOpinion, "", nil
	}
	status, err := w.ask(ctx, a, &spec)
	switch {
	case err != nil:
		return w.onError, "", err
	case status.Denied && status.Allowed:
		return registry.Deny, status.Reason, errors.New("webhook subject access review returned both allow and deny response")
	case status.Denied:
		return registry.Deny, status.Reason, nil
	case status.Allowed:
		return registry.Allow, status.Reason, nil
	}
	return registry.NoOpinion, status.Reason, nil
}

// Rules cannot be asked for: a review is about one request.
func (w *webhookAuthorizer) Rules(context.Context, registry.User, string) ([]rbacv1.PolicyRule, bool, error) {
	return nil, true, errors.New("webhook authorizer does not support user rule resolution")
}

func (w *webhookAuthorizer) ask(ctx context.Context, a *registry.Attributes, spec *authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, err
	}
	key := sha256.Sum256(text)
	if known, ok := w.answers.Get(key); ok {
		return known.(authorizationv1.SubjectAccessReviewStatus), nil
	}
	status, err := w.review(ctx, spec)
	if err != nil {
		return status, err
	}
	keep := w.others
	if status.Allowed {
		keep = w.allowed
	}
	asked := len(a.Namespace) + len(a.Verb) + len(a.Group) + len(a.Version) + len(a.Resource) + len(a.Subresource) + len(a.Name) + len(a.Path)
	if keep > 0 && asked < maxAsked {
		w.answers.Add(key, status, keep)
	}
	return status, nil
}

// review puts the question in the service's version.
func (w *webhookAuthorizer) review(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
	kind := metav1.TypeMeta{APIVersion: authorizationv1.GroupName + "/" + w.version, Kind: "SubjectAccessReview"}
	var answer struct {
		Status authorizationv1.SubjectAccessReviewStatus `json:"status"` // the same in both versions
	}
	var question any = authorizationv1.SubjectAccessReview{TypeMeta: kind, Spec: *spec}
	if w.version == "v1beta1" {
		question = authorizationv1beta1.SubjectAccessReview{TypeMeta: kind, Spec: oldAccessReviewed(spec)}
	}
	err := w.service.Call(ctx, question, &answer)
	return answer.Status, err
}

// accessReviewed is a request as a review asks about it.
func accessReviewed(a *registry.Attributes) authorizationv1.SubjectAccessReviewSpec {
	spec := authorizationv1.SubjectAccessReviewSpec{User: a.User.Name, UID: a.User.UID, Groups: a.User.Groups}
	if a.User.Extra != nil {
		spec.Extra = map[string]authorizationv1.ExtraValue{}
		for key, values := range a.User.Extra {
			spec.Extra[key] = values
		}
	}
	if !a.ResourceRequest {
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return spec
	}
	spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version,
		Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	if terms := fieldTerms(a); len(terms) > 0 {
		spec.ResourceAttributes.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: terms}
	}
	if terms := labelTerms(a); len(terms) > 0 {
		spec.ResourceAttributes.LabelSelector = &authorizationv1.LabelSelectorAttributes{Requirements: terms}
	}
	return spec
}

// fieldTerms are the field selector's. An operator that reviews do not know is left out: the question is then about more.
func fieldTerms(a *registry.Attributes) (terms []metav1.FieldSelectorRequirement) {
	for _, f := range a.Fields {
		operator := metav1.FieldSelectorOpIn
		switch f.Operator {
		case operators.Equals, operators.DoubleEquals, operators.In:
		case operators.NotEquals, operators.NotIn:
			operator = metav1.FieldSelectorOpNotIn
		default:
			continue
		}
		terms = append(terms, metav1.FieldSelectorRequirement{Key: f.Field, Operator: operator, Values: []string{f.Value}})
	}
	return terms
}

// labelTerms are the label selector's; comparing by size has no place in reviews.
func labelTerms(a *registry.Attributes) (terms []metav1.LabelSelectorRequirement) {
	for i := range a.Labels {
		term := metav1.LabelSelectorRequirement{Key: a.Labels[i].Key(), Values: a.Labels[i].ValuesUnsorted()}
		switch a.Labels[i].Operator() {
		case operators.Equals, operators.DoubleEquals, operators.In:
			term.Operator = metav1.LabelSelectorOpIn
		case operators.NotEquals, operators.NotIn:
			term.Operator = metav1.LabelSelectorOpNotIn
		case operators.Exists:
			term.Operator = metav1.LabelSelectorOpExists
		case operators.DoesNotExist:
			term.Operator = metav1.LabelSelectorOpDoesNotExist
		default:
			continue
		}
		terms = append(terms, term)
	}
	return terms
}

// oldAccessReviewed is the question in v1beta1, in which the field groups is called group.
func oldAccessReviewed(spec *authorizationv1.SubjectAccessReviewSpec) authorizationv1beta1.SubjectAccessReviewSpec {
	old := authorizationv1beta1.SubjectAccessReviewSpec{User: spec.User, UID: spec.UID, Groups: spec.Groups,
		ResourceAttributes:    (*authorizationv1beta1.ResourceAttributes)(spec.ResourceAttributes),
		NonResourceAttributes: (*authorizationv1beta1.NonResourceAttributes)(spec.NonResourceAttributes)}
	if spec.Extra != nil {
		old.Extra = map[string]authorizationv1beta1.ExtraValue{}
		for key, values := range spec.Extra {
			old.Extra[key] = authorizationv1beta1.ExtraValue(values)
		}
	}
	return old
}
