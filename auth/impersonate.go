package auth

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry"
)

// Impersonation is to act as somebody else, by the headers Impersonate-User, -Group, -Uid and -Extra-*. There are two
// ways to be allowed that, which are the authorizer's to grant.
//
// The old way: the verb "impersonate" on each user, group, uid and userextras value that is asked for. Who may be a user
// may then do everything as that user.
//
// The constrained way (KEP 5284): the verb "impersonate:MODE" on the same things, and "impersonate-on:MODE:VERB" on
// what the request is about. The mode follows from who is impersonated: the node that a service account's pod runs
// on, any node, a service account, or another user. In this way nobody becomes a member of system:masters, and nodes
// and service accounts have the groups that they always have.
//
// The constrained modes are tried first, the old way last. The one by which somebody last succeeded is tried first the
// next time, and its refusal is the one told.
type Impersonation struct {
	authorizer registry.Authorizer
	modes      []impersonationMode

	mu   sync.Mutex     // guards last
	last map[string]int // index of the mode by which a user last succeeded
}

// maxLastModes bounds what is remembered; beyond it all is forgotten, which costs a few more questions.
const maxLastModes = 10_000

// NewImpersonation returns the rules of impersonation over an authorizer.
func NewImpersonation(authorizer registry.Authorizer) *Impersonation {
	return &Impersonation{authorizer: authorizer, modes: impersonationModes(), last: map[string]int{}}
}

// Impersonated is who somebody acts as.
type Impersonated struct {
	User       registry.User
	Constraint string // "impersonate:MODE"; empty in the old way
}

// Refusal is the error of one who may not do what the attributes say.
type Refusal struct {
	Attributes registry.Attributes
	Reason     string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s may not %s %s %s: %s", r.Attributes.User.Name, r.Attributes.Verb, r.Attributes.Resource, r.Attributes.Name, r.Reason)
}

// As returns whom the request's sender wants to and may act as, nil without error if nobody. request is what is asked
// for. The error is a Refusal, or a Status where the headers make no sense. The headers are removed: nothing behind
// this place shall depend on them.
func (i *Impersonation) As(ctx context.Context, header http.Header, request *registry.Attributes) (*Impersonated, error) {
	wanted, err := wantedUser(header)
	if wanted == nil || err != nil {
		return nil, err
	}
	var refused error
	for _, index := range i.order(request.User.Name) {
		mode := i.modes[index]
		if mode.fits != nil && !mode.fits(request.User, *wanted) {
			continue
		}
		user, err := mode.impersonate(ctx, i.authorizer, *wanted, *request)
		if err == nil {
			i.remember(request.User.Name, index)
			return &Impersonated{User: user, Constraint: mode.constraint()}, nil
		}
		if refused == nil {
			refused = err
		}
	}
	return nil, refused
}

// order is the indexes of the modes as they are tried for somebody.
func (i *Impersonation) order(user string) []int {
	all := make([]int, 0, len(i.modes)+1)
	i.mu.Lock()
	last, known := i.last[user]
	i.mu.Unlock()
	if known {
		all = append(all, last)
	}
	for index := range i.modes {
		if !known || index != last {
			all = append(all, index)
		}
	}
	return all
}

func (i *Impersonation) remember(user string, index int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.last) >= maxLastModes {
		clear(i.last)
	}
	i.last[user] = index
}

// wantedUser takes the headers of impersonation out of a request's; nil if there are none.
func wantedUser(header http.Header) (*registry.User, error) {
	if !impersonates(header) {
		return nil, nil
	}
	u := registry.User{Name: header.Get(authenticationv1.ImpersonateUserHeader), UID: header.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(header[authenticationv1.ImpersonateGroupHeader])}
	names := []string{authenticationv1.ImpersonateUserHeader, authenticationv1.ImpersonateUIDHeader, authenticationv1.ImpersonateGroupHeader}
	extra := false
	for name, values := range header {
		key, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		names, extra = append(names, name), true
		if len(values) > 0 {
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			key = extraKey(key)
			u.Extra[key] = append(u.Extra[key], values...)
		}
	}
	if u.Name == "" {
		if u.UID != "" || len(u.Groups) > 0 || extra {
			return nil, apierrors.NewBadRequest(fmt.Sprintf(
				"requested &user.DefaultInfo{Name:%#v, UID:%#v, Groups:%#v, Extra:%#v} without impersonating a user name", u.Name, u.UID, u.Groups, u.Extra))
		}
		return nil, nil
	}
	for _, name := range names {
		header.Del(name)
	}
	return &u, nil
}

func impersonates(header http.Header) bool {
	for name := range header {
		if strings.HasPrefix(name, "Impersonate-") {
			return true
		}
	}
	return false
}
