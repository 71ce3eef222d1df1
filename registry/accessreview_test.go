package registry

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// askedAuthorizer denies everything and remembers what it was asked.
type askedAuthorizer struct{ asked Attributes }

func (a *askedAuthorizer) Authorize(_ context.Context, attributes *Attributes) (Decision, string, error) {
	a.asked = *attributes
	return Deny, "because", nil
}

func TestAccessReviewAsksForMoreThanItUnderstands(t *testing.T) {
	authorizer := &askedAuthorizer{}
	w := &Write{Registry: &Registry{Authorizer: authorizer}}
	attributes := &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods",
		LabelSelector: &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"a"}},
			{Key: "app", Operator: "Later"},
		}},
		FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: "nonsense"},
	}
	got := w.reviewAccess(context.Background(), User{Name: "u"}, attributes, nil)
	want := authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "because",
		EvaluationError: "spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector partially ignored due to parse error"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if asked := authorizer.asked; len(asked.Fields) > 0 || len(asked.Labels) != 1 || asked.Labels[0].String() != "app in (a)" {
		t.Errorf("asked for fields %v, labels %v", asked.Fields, asked.Labels)
	}
	wantAsked := Attributes{User: User{Name: "u"}, Verb: "list", ResourceRequest: true, Version: "*", Resource: "pods"}
	authorizer.asked.Labels = nil
	if diff := cmp.Diff(wantAsked, authorizer.asked); diff != "" {
		t.Error(diff)
	}
}
