package registry

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// tokenReview asks whose a token is.
func tokenReview() *Resource {
	return Kind[*authenticationv1.TokenReview]{
		Resource: reviewRow(authenticationv1.GroupName, "tokenreviews", "TokenReview", false,
			func(ctx context.Context, w *Write, obj Object) (runtime.Object, error) {
				review := obj.(*authenticationv1.TokenReview)
				if review.Spec.Token == "" {
					return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
				}
				if w.Registry.Authenticator == nil {
					return review, nil
				}
				user, audiences, err := w.Registry.Authenticator.AuthenticateToken(ctx, review.Spec.Token, review.Spec.Audiences)
				review.Status.Authenticated = user != nil
				if err != nil {
					review.Status.Error = err.Error()
				}
				if user != nil {
					review.Status.User, review.Status.Audiences = userInfo(*user), audiences
				}
				return review, nil
			}),
	}.row()
}

// selfSubjectReview asks who the asker is.
func selfSubjectReview() *Resource {
	return Kind[*authenticationv1.SelfSubjectReview]{
		Resource: reviewRow(authenticationv1.GroupName, "selfsubjectreviews", "SelfSubjectReview", false,
			func(_ context.Context, w *Write, _ Object) (runtime.Object, error) {
				answer := w.Resource.New().(*authenticationv1.SelfSubjectReview)
				answer.CreationTimestamp = metav1.NewTime(w.Now)
				answer.Status.UserInfo = userInfo(w.User)
				return answer, nil
			}),
	}.row()
}

func userInfo(u User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups, Extra: map[string]authenticationv1.ExtraValue{}}
	for key, values := range u.Extra {
		info.Extra[key] = values
	}
	return info
}
