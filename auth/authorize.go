package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// NewAuthorizer asks for system:masters first, then each mode in the order given, as --authorization-mode names them.
func NewAuthorizer(modes []string) (registry.Authorizer, error) {
	chain := Authorizers{Masters{}}
	for _, mode := range modes {
		switch mode {
		case "AlwaysAllow":
			chain = append(chain, AlwaysAllow{})
		case "AlwaysDeny":
			chain = append(chain, AlwaysDeny{})
		case "RBAC":
			chain = append(chain, Everyone{})
		case "Node": // a node's rights follow from the objects bound to it: none without RBAC's roles
		default:
			return nil, fmt.Errorf("authorization mode %q is unknown: use Node, RBAC, AlwaysAllow or AlwaysDeny", mode)
		}
	}
	return chain, nil
}

// Authorizers are asked in order, until one allows or denies.
type Authorizers []registry.Authorizer

// Authorize returns the first decision, or no opinion and what all of them had to say.
func (chain Authorizers) Authorize(ctx context.Context, a registry.Attributes) (registry.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, one := range chain {
		decision, reason, err := one.Authorize(ctx, a)
		if decision != registry.NoOpinion {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return registry.NoOpinion, strings.Join(reasons, "\n"), errors.Join(errs...)
}

// Masters lets the group system:masters do everything. It cannot be configured away: it is how a cluster whose
// roles are broken is repaired.
type Masters struct{}

// Authorize allows members of system:masters.
func (Masters) Authorize(_ context.Context, a registry.Attributes) (registry.Decision, string, error) {
	if slices.Contains(a.User.Groups, mastersGroup) {
		return registry.Allow, "", nil
	}
	return registry.NoOpinion, "", nil
}

// AlwaysAllow is for tests.
type AlwaysAllow struct{}

// Authorize allows everything.
func (AlwaysAllow) Authorize(context.Context, registry.Attributes) (registry.Decision, string, error) {
	return registry.Allow, "", nil
}

// AlwaysDeny is for tests.
type AlwaysDeny struct{}

// Authorize allows nothing, and leaves it to others to allow something.
func (AlwaysDeny) Authorize(context.Context, registry.Attributes) (registry.Decision, string, error) {
	return registry.NoOpinion, "Everything is forbidden.", nil
}

// Everyone grants what upstream's bootstrap roles grant to whole groups: system:public-info-viewer to all,
// system:discovery and system:basic-user to those who are authenticated.
type Everyone struct{}

// Authorize allows reading public paths and asking about oneself.
func (Everyone) Authorize(_ context.Context, a registry.Attributes) (registry.Decision, string, error) {
	known := slices.Contains(a.User.Groups, authenticatedGroup)
	allowed := false
	switch {
	case a.ResourceRequest:
		allowed = known && aboutSelf(a)
	case a.Verb == "get":
		allowed = publicPath(a.Path) || known && discoveryPath(a.Path)
	}
	if allowed {
		return registry.Allow, "", nil
	}
	return registry.NoOpinion, "", nil
}

// aboutSelf is what system:basic-user grants: to ask who one is and what one may do.
func aboutSelf(a registry.Attributes) bool {
	if a.Verb != "create" || a.Subresource != "" {
		return false
	}
	switch a.Group {
	case "authorization.k8s.io":
		return a.Resource == "selfsubjectaccessreviews" || a.Resource == "selfsubjectrulesreviews"
	case "authentication.k8s.io":
		return a.Resource == "selfsubjectreviews"
	}
	return false
}

func publicPath(path string) bool {
	switch path {
	case "/healthz", "/livez", "/readyz", "/version", "/version/":
		return true
	}
	return false
}

func discoveryPath(path string) bool {
	root, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return root == "api" || root == "apis" || root == "openapi"
}
