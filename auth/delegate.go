package auth

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/registry"
)

// delegatedTTL is how long an answer of the API server is good for those who asked it.
const delegatedTTL = 10 * time.Second

// Delegation is how a part that is no API server knows those who come to it, and what they may.
type Delegation struct {
	Tokens      *rest.Config // leads to the API server that is asked whose a token is, by a TokenReview
	Access      *rest.Config // and to the one that is asked what a user may, by a SubjectAccessReview
	Authorities *Bundle      // of client certificates
	Proxy       *FrontProxy  // is believed what it says of users; nil if there is none
}

// Open puts both together. Who shows nothing is anonymous. Members of system:masters may everything, and nobody is asked.
func (d Delegation) Open() (Authenticator, registry.Authorizer, error) {
	tokens, err := reviews(d.Tokens, "authentication.k8s.io/v1/tokenreviews")
	if err != nil {
		return nil, nil, err
	}
	access, err := reviews(d.Access, "authorization.k8s.io/v1/subjectaccessreviews")
	if err != nil {
		return nil, nil, err
	}
	known, err := NewTokenWebhook(tokens, "v1", nil, delegatedTTL)
	if err != nil {
		return nil, nil, err
	}
	conditions, err := compileConditions(nil)
	if err != nil {
		return nil, nil, err
	}
	who := Authentication{Proxy: d.Proxy, ClientCAs: []*Bundle{d.Authorities}, Tokens: []registry.TokenAuthenticator{known}, Anonymous: Anonymous{Enabled: true}}
	may := &webhookAuthorizer{service: access, version: "v1", conditions: conditions, onError: registry.NoOpinion,
		answers: cache.NewLRUExpireCache(maxAnswers), allowed: delegatedTTL, others: delegatedTTL}
	return who.Authenticator(), Authorizers{Masters{}, may}, nil
}

// reviews is the API server as a service that answers one kind of review.
func reviews(api *rest.Config, path string) (*Webhook, error) {
	base, _, err := rest.DefaultServerUrlFor(api)
	if err != nil {
		return nil, fmt.Errorf("reviews: %w", err)
	}
	config := rest.CopyConfig(api)
	config.Host = base.JoinPath("apis", path).String()
	return NewWebhook(config)
}
