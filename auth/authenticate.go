package auth

import (
	"errors"
	"net/http"
	"slices"

	"github.com/knarr-dev/knarr/registry"
)

// Names that upstream gives to everybody and nobody.
const (
	anonymousUser        = "system:anonymous"
	authenticatedGroup   = "system:authenticated"
	unauthenticatedGroup = "system:unauthenticated"
	mastersGroup         = "system:masters"
)

// Authenticator finds out from a request who sends it.
type Authenticator interface {
	// Authenticate returns the user, nil if the request has no credential of the kind that is read here, or an error
	// if it has one that is wrong.
	Authenticate(r *http.Request) (*registry.User, error)
}

// Authentication is how a server's users may prove who they are.
type Authentication struct {
	// Proxy is the front proxy; nil if there is none.
	Proxy *FrontProxy
	// Passwords are the users of basic authentication; nil if there is none.
	Passwords *File[Passwords]
	// ClientCAs are the authorities of client certificates.
	ClientCAs []*Bundle
	// Tokens know bearer tokens; each is asked in turn.
	Tokens []registry.TokenAuthenticator
	// Anonymous is what holds for requests without credentials.
	Anonymous Anonymous
}

// Authenticator tries everything configured in upstream's order: front proxy, password, client certificate, bearer
// token, token in a WebSocket's sub-protocol, anonymous. It returns nil without error if nothing fits.
func (a Authentication) Authenticator() Authenticator {
	var chain authenticators
	headers := headersOf(StandardHeaders())
	if a.Proxy != nil {
		headers = headersOf(StandardHeaders(), *a.Proxy)
		chain = append(chain, newFrontProxy(*a.Proxy))
	}
	if a.Passwords != nil {
		chain = append(chain, basic{a.Passwords})
	}
	for _, authorities := range a.ClientCAs {
		chain = append(chain, &clientCertificate{authorities: authorities, read: certificateUser})
	}
	tokens := Tokens(a.Tokens) // where there are none, a token is still a credential that is wrong
	chain = append(chain, bearer{tokens}, webSocketProtocol{tokens})
	return &named{chain, a.Anonymous, headers}
}

// authenticators are tried in order. A wrong credential counts only if no other is right.
type authenticators []Authenticator

func (chain authenticators) Authenticate(r *http.Request) (*registry.User, error) {
	var errs []error
	for _, one := range chain {
		user, err := one.Authenticate(r)
		if user != nil {
			return user, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

// named puts those who proved who they are into system:authenticated, and names those who tried nothing anonymous. What
// headers say of a user has been heard, or is not to be believed: it is removed.
type named struct {
	next      Authenticator
	anonymous Anonymous
	headers   proxyHeaders
}

func (n *named) Authenticate(r *http.Request) (*registry.User, error) {
	user, err := n.next.Authenticate(r)
	if err != nil {
		return nil, err
	}
	if user == nil {
		user, err = n.anonymous.Authenticate(r)
	}
	if user == nil || err != nil {
		return nil, err
	}
	n.headers.strip(r.Header)
	return Authenticated(user), nil
}

// Authenticated is the user as a member of system:authenticated, unless it is nobody after all.
func Authenticated(user *registry.User) *registry.User {
	if user.Name == anonymousUser || slices.Contains(user.Groups, authenticatedGroup) ||
		slices.Contains(user.Groups, unauthenticatedGroup) {
		return user
	}
	member := *user
	member.Groups = append(slices.Clip(user.Groups), authenticatedGroup)
	return &member
}
