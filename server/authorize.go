package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
)

// authorize asks whether the user may do it. What could not be found out is no decision, unless it was allowed all the same.
func (s *Server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := askedOf(r)
		start := time.Now()
		decision, reason, err := s.authorizer.Authorize(r.Context(), &a.about)
		a.lasted("authorization", start)
		switch {
		case decision == registry.Allow:
			a.annotate("authorization.k8s.io/decision", "allow")
			a.annotate("authorization.k8s.io/reason", reason)
			next.ServeHTTP(w, r)
		case err != nil:
			a.annotate("authorization.k8s.io/reason", "internal error")
			s.log.Error("authorization", "user", a.about.User.Name, "verb", a.about.Verb, "path", r.URL.Path, "err", err)
			text := fmt.Sprintf("Internal Server Error: %q: %v", r.RequestURI, err)
			http.Error(w, markup.Replace(text), http.StatusInternalServerError)
		default:
			a.annotate("authorization.k8s.io/decision", "forbid")
			a.annotate("authorization.k8s.io/reason", reason)
			refuse(w, r, forbidden(&a.about, reason))
		}
	})
}

// attributes is the request as an authorizer sees it, but for the user.
func (q *Request) attributes() registry.Attributes {
	return registry.Attributes{Verb: q.Verb, ResourceRequest: q.IsResource, Namespace: q.Namespace, Group: q.Group,
		Version: q.Version, Resource: q.Plural, Subresource: q.Subresource, Name: cmp.Or(q.Name, q.SelectedName), Path: q.Path,
		Fields: q.Fields, Labels: q.Labels}
}

// openAuthorizer puts together who decides, once there are objects to decide by. Roles that cannot be read yet allow
// nothing until they are.
func (s *security) openAuthorizer(ctx context.Context, c *Config, objects registry.Objects, log *slog.Logger) (err error) {
	s.policy = rbac.New()
	if err := s.policy.Follow(ctx, objects); err != nil {
		log.Warn("read roles and bindings", "err", err)
	}
	s.authorizer, err = auth.Authorization{
		Modes: c.Authorization.modes(), Objects: objects, RBAC: s.policy, PolicyFile: c.Authorization.PolicyFile,
		Webhook: c.Authorization.webhook(), ConfigFile: c.Authorization.ConfigFile, Watch: s.pki, Log: log,
	}.Authorizer(ctx)
	return err
}

// AuthorizationConfig is who says what users may do.
type AuthorizationConfig struct {
	Mode           []string      `flag:"mode" help:"who decides what users may do, in this order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny (default: Node,RBAC). Members of system:masters may do everything"`
	PolicyFile     string        `flag:"policy-file" help:"policies of the mode ABAC, a JSON object a line"`
	WebhookFile    string        `flag:"webhook-config-file" help:"kubeconfig that leads to the service that the mode Webhook asks"`
	WebhookVersion string        `flag:"webhook-version" help:"version of the SubjectAccessReviews that the service takes: v1 or v1beta1"`
	AllowedTTL     time.Duration `flag:"webhook-cache-authorized-ttl" help:"how long to remember what the service has allowed; 0 does not"`
	OthersTTL      time.Duration `flag:"webhook-cache-unauthorized-ttl" help:"how long to remember what the service has not allowed; 0 does not"`
	ConfigFile     string        `flag:"config" help:"file of those who decide, with several webhooks and conditions on which these are asked (AuthorizationConfiguration), in place of --authorization-mode and --authorization-webhook-*; may change while the server runs"`
}

func defaultAuthorization() AuthorizationConfig {
	return AuthorizationConfig{WebhookVersion: "v1beta1", AllowedTTL: 5 * time.Minute, OthersTTL: 30 * time.Second}
}

func (c *AuthorizationConfig) modes() []string {
	if len(c.Mode) == 0 {
		return []string{"Node", "RBAC"}
	}
	return c.Mode
}

// webhook is what the flags say of the service, as a configuration file would say it.
func (c *AuthorizationConfig) webhook() apiserverv1.WebhookConfiguration {
	return apiserverv1.WebhookConfiguration{
		AuthorizedTTL:              metav1.Duration{Duration: c.AllowedTTL},
		UnauthorizedTTL:            metav1.Duration{Duration: c.OthersTTL},
		Timeout:                    metav1.Duration{Duration: 30 * time.Second},
		FailurePolicy:              apiserverv1.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: c.WebhookVersion,
		ConnectionInfo: apiserverv1.WebhookConnectionInfo{
			Type: apiserverv1.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: ptr.To(c.WebhookFile)},
	}
}

// check finds flags that do not go together.
func (c *AuthorizationConfig) check() error {
	modes, standard := c.modes(), defaultAuthorization()
	has := func(mode string) bool { return slices.Contains(modes, mode) }
	unique := slices.Compact(slices.Sorted(slices.Values(modes)))
	webhook := c.WebhookFile != "" || c.WebhookVersion != standard.WebhookVersion || c.AllowedTTL != standard.AllowedTTL || c.OthersTTL != standard.OthersTTL
	var errs []error
	for _, check := range []struct {
		bad  bool
		word string
	}{
		{c.ConfigFile != "" && (len(c.Mode) > 0 || webhook), "--authorization-config stands in place of --authorization-mode and --authorization-webhook-*: leave those out"},
		{len(unique) < len(modes), fmt.Sprintf("--authorization-mode %s names a mode twice", strings.Join(modes, ","))},
		{has("ABAC") && c.PolicyFile == "", "--authorization-mode ABAC needs --authorization-policy-file"},
		{c.ConfigFile == "" && !has("ABAC") && c.PolicyFile != "", "--authorization-policy-file needs --authorization-mode ABAC"},
		{has("Webhook") && c.WebhookFile == "", "--authorization-mode Webhook needs --authorization-webhook-config-file"},
		{c.ConfigFile == "" && !has("Webhook") && c.WebhookFile != "", "--authorization-webhook-config-file needs --authorization-mode Webhook"},
		{c.WebhookVersion != "v1" && c.WebhookVersion != "v1beta1", fmt.Sprintf("--authorization-webhook-version is %q: use v1 or v1beta1", c.WebhookVersion)},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.word))
		}
	}
	return errors.Join(errs...)
}
