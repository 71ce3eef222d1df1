package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/knarr-dev/knarr/registry"
)

// Authorization is how a server decides what its users may do.
type Authorization struct {
	Modes   []string         // who decides, in this order, as --authorization-mode names them
	Objects registry.Objects // what Node and RBAC decide by
}

// Authorizer asks for system:masters first, then each mode. What modes go by is read, and followed, from here on.
func (a Authorization) Authorizer(ctx context.Context) (registry.Authorizer, error) {
	chain := Authorizers{Masters{}}
	for _, mode := range a.Modes {
		one, err := a.mode(ctx, mode)
		if err != nil {
			return nil, err
		}
		if one != nil {
			chain = append(chain, one)
		}
	}
	return chain, nil
}

func (a Authorization) mode(ctx context.Context, name string) (registry.Authorizer, error) {
	switch name {
	case "AlwaysAllow":
		return AlwaysAllow{}, nil
	case "AlwaysDeny":
		return AlwaysDeny{}, nil
	case "RBAC":
		return Everyone{}, nil
	case "Node": // a node's rights follow from the objects bound to it: none without RBAC's roles
		return nil, nil
	}
	return nil, fmt.Errorf("authorization mode %q is unknown: use Node, RBAC, AlwaysAllow or AlwaysDeny", name)
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
	return registry.NoOpinion, strings.Join(reasons, "\n"), together(errs)
}

// Rules lists what each has to tell. Who has no rules to show says so in an error.
func (chain Authorizers) Rules(ctx context.Context, user registry.User, namespace string) (rules []rbacv1.PolicyRule, incomplete bool, err error) {
	var errs []error
	for _, one := range chain {
		lister, ok := one.(registry.RuleLister)
		if !ok {
			continue
		}
		some, partly, err := lister.Rules(ctx, user, namespace)
		rules, incomplete = append(rules, some...), incomplete || partly
		if err != nil {
			errs = append(errs, err)
		}
	}
	return rules, incomplete, together(errs)
}

// together is several errors as one that reads as upstream's: reviews show it.
func together(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return utilerrors.NewAggregate(errs)
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

// Rules says so.
func (AlwaysAllow) Rules(context.Context, registry.User, string) ([]rbacv1.PolicyRule, bool, error) {
	all := []string{"*"}
	return []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}, false, nil
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
