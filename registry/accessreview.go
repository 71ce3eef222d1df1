package registry

import (
	"cmp"
	"context"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Access reviews are questions: what is posted comes back with the authorizer's answer, and nothing is stored.

// reviewRow is a resource that can only be created.
func reviewRow(group, plural, kind string, namespaced bool, answer func(ctx context.Context, w *Write, obj Object) (runtime.Object, error)) Resource {
	return Resource{
		Group: group, Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Namespaced: namespaced,
		Verbs: []string{"create"}, Versions: []Version{{Name: "v1"}}, Answer: answer,
	}
}

// subjectAccessReview asks whether somebody may do something.
func subjectAccessReview() *Resource {
	return Kind[*authorizationv1.SubjectAccessReview]{
		Resource: reviewRow(authorizationv1.GroupName, "subjectaccessreviews", "SubjectAccessReview", false,
			func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				review := obj.(*authorizationv1.SubjectAccessReview)
				errs := append(validateAccessSubject(&review.Spec), validateEmptyMetadata(review.ObjectMeta, "must be empty")...)
				if err := invalidReview(errs); err != nil {
					return nil, err
				}
				review.Status = w.reviewAccess(ctx, reviewedUser(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
				return review, nil
			}),
	}.row()
}

// localSubjectAccessReview asks the same about one namespace, so that the right to ask can be given in it.
func localSubjectAccessReview() *Resource {
	return Kind[*authorizationv1.LocalSubjectAccessReview]{
		Resource: reviewRow(authorizationv1.GroupName, "localsubjectaccessreviews", "LocalSubjectAccessReview", true,
			func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				review := obj.(*authorizationv1.LocalSubjectAccessReview)
				if err := invalidReview(validateLocalReview(review)); err != nil {
					return nil, err
				}
				if w.Namespace != review.Namespace {
					return nil, apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + w.Namespace)
				}
				review.Status = w.reviewAccess(ctx, reviewedUser(&review.Spec), review.Spec.ResourceAttributes, nil)
				return review, nil
			}),
	}.row()
}

// selfSubjectAccessReview asks whether the asker may do something.
func selfSubjectAccessReview() *Resource {
	return Kind[*authorizationv1.SelfSubjectAccessReview]{
		Resource: reviewRow(authorizationv1.GroupName, "selfsubjectaccessreviews", "SelfSubjectAccessReview", false,
			func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				review := obj.(*authorizationv1.SelfSubjectAccessReview)
				errs := validateReviewAttributes(review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
				errs = append(errs, validateEmptyMetadata(review.ObjectMeta, "must be empty")...)
				if err := invalidReview(errs); err != nil {
					return nil, err
				}
				review.Status = w.reviewAccess(ctx, w.User, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
				return review, nil
			}),
	}.row()
}

// selfSubjectRulesReview asks for all that the asker may do in a namespace.
func selfSubjectRulesReview() *Resource {
	return Kind[*authorizationv1.SelfSubjectRulesReview]{
		Resource: reviewRow(authorizationv1.GroupName, "selfsubjectrulesreviews", "SelfSubjectRulesReview", false,
			func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				namespace := obj.(*authorizationv1.SelfSubjectRulesReview).Spec.Namespace
				if namespace == "" {
					return nil, apierrors.NewBadRequest("no namespace on request")
				}
				answer := w.Resource.New().(*authorizationv1.SelfSubjectRulesReview)
				answer.Status = w.reviewRules(ctx, namespace)
				return answer, nil
			}),
	}.row()
}

// invalidReview makes an error of what is wrong with a review. It names no kind, as kube-apiserver's does not.
func invalidReview(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", errs)
}

func reviewedUser(s *authorizationv1.SubjectAccessReviewSpec) User {
	u := User{Name: s.User, UID: s.UID, Groups: s.Groups, Extra: map[string][]string{}}
	for key, values := range s.Extra {
		u.Extra[key] = values
	}
	return u
}

// reviewAccess asks the authorizer about a resource or a path.
func (w *Write) reviewAccess(ctx context.Context, user User, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	a := Attributes{User: user}
	var problems []string
	if r != nil {
		a.ResourceRequest, a.Verb, a.Namespace, a.Group = true, r.Verb, r.Namespace, r.Group
		a.Version, a.Resource, a.Subresource, a.Name = cmp.Or(r.Version, anyOf), r.Resource, r.Subresource, r.Name
		problems = a.takeSelectors(r)
	} else {
		a.Verb, a.Path = n.Verb, n.Path
	}
	if w.Registry.Authorizer == nil {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	}
	decision, reason, err := w.Registry.Authorizer.Authorize(ctx, &a)
	if err != nil {
		problems = append([]string{err.Error()}, problems...)
	}
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == Allow, Denied: decision == Deny, Reason: reason, EvaluationError: strings.Join(problems, "; "),
	}
}

// reviewRules lists what the asker may do, as far as the authorizer can tell.
func (w *Write) reviewRules(ctx context.Context, namespace string) authorizationv1.SubjectRulesReviewStatus {
	status := authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
	}
	lister, ok := w.Registry.Authorizer.(RuleLister)
	if !ok {
		status.Incomplete, status.EvaluationError = true, "the authorizer does not support user rule resolution"
		return status
	}
	rules, incomplete, err := lister.Rules(ctx, w.User, namespace)
	status.Incomplete = incomplete
	if err != nil {
		status.EvaluationError = err.Error()
	}
	for _, r := range rules {
		if len(r.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
			continue
		}
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
		})
	}
	return status
}

func validateAccessSubject(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateReviewAttributes(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateReviewAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	switch {
	case r != nil && n != nil:
		errs = append(errs, field.Invalid(at.Child("nonResourceAttributes"), n, "cannot be specified in combination with resourceAttributes"))
	case r == nil && n == nil:
		errs = append(errs, field.Invalid(at.Child("resourceAttributes"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if r == nil {
		return errs
	}
	at = at.Child("resourceAttributes")
	if s := r.FieldSelector; s != nil {
		errs = append(errs, validateReviewSelector(s.RawSelector, s.Requirements, at.Child("fieldSelector"), func(r metav1.FieldSelectorRequirement, at *field.Path) field.ErrorList {
			return metav1validation.ValidateFieldSelectorRequirement(r, metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at)
		})...)
	}
	if s := r.LabelSelector; s != nil {
		errs = append(errs, validateReviewSelector(s.RawSelector, s.Requirements, at.Child("labelSelector"), func(r metav1.LabelSelectorRequirement, at *field.Path) field.ErrorList {
			return metav1validation.ValidateLabelSelectorRequirement(r, metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, at)
		})...)
	}
	return errs
}

// validateReviewSelector wants a selector as text or as requirements. Operators of later releases are let pass.
func validateReviewSelector[R any](raw string, requirements []R, at *field.Path, one func(R, *field.Path) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	switch {
	case raw != "" && len(requirements) > 0:
		errs = append(errs, field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
	case raw == "" && len(requirements) == 0:
		errs = append(errs, field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required"))
	}
	for i, r := range requirements {
		errs = append(errs, one(r, at.Child("requirements").Index(i))...)
	}
	return errs
}

// validateEmptyMetadata allows managedFields alone, which the server made.
func validateEmptyMetadata(m metav1.ObjectMeta, why string) field.ErrorList {
	shown := m
	m.ManagedFields = nil
	if equal(m, metav1.ObjectMeta{}) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), shown, why)}
}

func validateLocalReview(review *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateAccessSubject(&review.Spec)
	m := review.ObjectMeta
	m.Namespace = ""
	if len(validateEmptyMetadata(m, "")) > 0 {
		errs = append(errs, validateEmptyMetadata(review.ObjectMeta, "must be empty except for namespace")...)
	}
	if r := review.Spec.ResourceAttributes; r != nil && r.Namespace != review.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if n := review.Spec.NonResourceAttributes; n != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), n, "disallowed on this kind of request"))
	}
	return errs
}
