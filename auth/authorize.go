package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
)

// Authorization is how a server decides what its users may do.
type Authorization struct {
	Modes   []string         // who decides, in this order, as --authorization-mode names them
	Objects registry.Objects // what Node decides by
	RBAC    *rbac.Policy     // the cluster's roles and bindings
	// PolicyFile is what the mode ABAC decides by.
	PolicyFile string
	// Webhook is whom the mode Webhook asks.
	Webhook apiserverv1.WebhookConfiguration
	// ConfigFile is an AuthorizationConfiguration, which stands in place of Modes and Webhook.
	ConfigFile string
	Watch      *PKI // reads the configuration file again; may be nil
	Log        *slog.Logger
}

// Authorizer asks for system:masters first, then each mode. What modes go by is read, and followed, from here on.
func (a Authorization) Authorizer(ctx context.Context) (registry.Authorizer, error) {
	if a.ConfigFile != "" {
		authorizer, err := a.configured(ctx)
		if err != nil {
			return nil, fmt.Errorf("--authorization-config: %w", err)
		}
		return authorizer, nil
	}
	chain := Authorizers{Masters{}}
	for _, mode := range a.Modes {
		one, err := a.mode(ctx, mode)
		if err != nil {
			return nil, fmt.Errorf("--authorization-mode: %s: %w", mode, err)
		}
		chain = append(chain, one)
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
		return a.RBAC, nil
	case "Node":
		return NewNode(a.Objects, a.Log)
	case "ABAC":
		if a.PolicyFile == "" {
			return nil, errors.New("policies are missing: name them by --authorization-policy-file")
		}
		return ReadABAC(a.PolicyFile, a.Log)
	case "Webhook":
		return newWebhookAuthorizer(&a.Webhook)
	}
	return nil, fmt.Errorf("unknown: use %s", strings.Join(authorizationModes(), ", "))
}

// Authorizers are asked in order, until one allows or denies.
type Authorizers []registry.Authorizer

// Authorize returns the first decision, or no opinion and what all of them had to say.
func (chain Authorizers) Authorize(ctx context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, one := range chain {
		if !concerns(one, &a.User) {
			continue
		}
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

// concerns spares the question to those who have no opinion of most users. It is asked of every request.
func concerns(one registry.Authorizer, user *registry.User) bool {
	switch one.(type) {
	case Masters:
		return slices.Contains(user.Groups, mastersGroup)
	case *Node:
		_, is := user.Node()
		return is
	}
	return true
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
func (Masters) Authorize(_ context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	if slices.Contains(a.User.Groups, mastersGroup) {
		return registry.Allow, "", nil
	}
	return registry.NoOpinion, "", nil
}

// AlwaysAllow is for tests.
type AlwaysAllow struct{}

// Authorize allows everything.
func (AlwaysAllow) Authorize(context.Context, *registry.Attributes) (registry.Decision, string, error) {
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
func (AlwaysDeny) Authorize(context.Context, *registry.Attributes) (registry.Decision, string, error) {
	return registry.NoOpinion, "Everything is forbidden.", nil
}
