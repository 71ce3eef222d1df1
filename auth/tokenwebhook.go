package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

// tokenWebhook asks a service elsewhere whose a token is, by a TokenReview.
type tokenWebhook struct {
	service   *Webhook
	version   string   // of the TokenReview
	audiences []string // the API server's own
}

// NewTokenWebhook returns what knows the tokens that the service knows, in TokenReviews of a version: v1 or v1beta1,
// which have the same fields. Answers, but no errors, are remembered for a while.
func NewTokenWebhook(service *Webhook, version string, audiences []string, remember time.Duration) (registry.TokenAuthenticator, error) {
	if version != "v1" && version != "v1beta1" {
		return nil, fmt.Errorf("unsupported authentication webhook version %q, supported versions are %q, %q", version, "v1", "v1beta1")
	}
	return rememberTokens(&tokenWebhook{service, version, audiences}, remember, remember), nil
}

// AuthenticateToken asks the service. One that says nothing of audiences is taken to mean the API server's.
func (w *tokenWebhook) AuthenticateToken(ctx context.Context, token string, audiences []string) (*registry.User, []string, error) {
	if len(audiences) == 0 {
		audiences = w.audiences
	}
	question := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.GroupName + "/" + w.version, Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences},
	}
	var answer authenticationv1.TokenReview
	if err := w.service.Call(ctx, question, &answer); err != nil {
		return nil, nil, err
	}
	made := answer.Status.Audiences
	if len(made) == 0 {
		made = w.audiences
	}
	fit := commonAudiences(audiences, made)
	switch {
	case len(audiences) > 0 && len(fit) == 0:
		return nil, nil, nil
	case answer.Status.Authenticated:
		return reviewedUser(answer.Status.User), fit, nil
	case answer.Status.Error != "":
		return nil, nil, errors.New(answer.Status.Error)
	}
	return nil, nil, nil
}

func reviewedUser(u authenticationv1.UserInfo) *registry.User {
	user := &registry.User{Name: u.Username, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if user.Extra == nil {
			user.Extra = map[string][]string{}
		}
		user.Extra[key] = values
	}
	return user
}
