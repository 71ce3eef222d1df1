package auth

import (
	"net/http"
	"slices"

	"github.com/knarr-dev/knarr/registry"
)

// Anonymous says which requests without credentials are let in, as system:anonymous.
type Anonymous struct {
	Enabled bool
	Paths   []string // the only ones; none means all
}

// Authenticate lets those in that may come in.
func (a Anonymous) Authenticate(r *http.Request) (*registry.User, error) {
	if !a.Enabled || len(a.Paths) > 0 && !slices.Contains(a.Paths, r.URL.Path) {
		return nil, nil
	}
	return &registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}, nil
}

// IsAnonymous tells users who have proved nothing.
func IsAnonymous(u *registry.User) bool { return u.Name == anonymousUser }
