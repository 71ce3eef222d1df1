package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"

	"github.com/knarr-dev/knarr/registry"
)

// authorizationModes are the types of authorizers.
func authorizationModes() []string {
	return []string{"ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"}
}

// authorizationConfigs is the form of an AuthorizationConfiguration.
func authorizationConfigs() ConfigKind[apiserverv1.AuthorizationConfiguration] {
	const group = "apiserver.config.k8s.io/"
	return ConfigKind[apiserverv1.AuthorizationConfiguration]{
		Kind: "AuthorizationConfiguration", Versions: []string{group + "v1", group + "v1beta1", group + "v1alpha1"},
		Default: func(c *apiserverv1.AuthorizationConfiguration) {
			for i := range c.Authorizers {
				if w := c.Authorizers[i].Webhook; w != nil {
					apiserverv1.SetDefaults_WebhookConfiguration(w)
				}
			}
		},
		Validate: validateAuthorizers,
	}
}

// validateAuthorizers finds what is wrong. Authorizers that are not webhooks are named after their type, so that they are
// called the same wherever they are configured.
func validateAuthorizers(c *apiserverv1.AuthorizationConfiguration) field.ErrorList {
	var internal apiserver.AuthorizationConfiguration
	if err := apiserverv1.Convert_v1_AuthorizationConfiguration_To_apiserver_AuthorizationConfiguration(c, &internal, nil); err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs := validation.ValidateAuthorizationConfiguration(&lateCompiler{}, nil, &internal, sets.New(authorizationModes()...), sets.New("Webhook"))
	for i, one := range c.Authorizers {
		if one.Type != "Webhook" && one.Name != "" && one.Name != strings.ToLower(one.Type) && slices.Contains(authorizationModes(), one.Type) {
			errs = append(errs, field.Invalid(field.NewPath("authorizers").Index(i).Child("name"), one.Name,
				fmt.Sprintf("expected name %s for authorizer %s instead of %s", strings.ToLower(one.Type), one.Type, one.Name)))
		}
	}
	return errs
}

// configuredAuthorizer is the chain that a configuration file says today.
type configuredAuthorizer struct{ *File[Authorizers] }

// Authorize asks the chain.
func (c configuredAuthorizer) Authorize(ctx context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	return c.Get().Authorize(ctx, a)
}

// Rules lists what the chain has to tell.
func (c configuredAuthorizer) Rules(ctx context.Context, user registry.User, namespace string) ([]rbacv1.PolicyRule, bool, error) {
	return c.Get().Rules(ctx, user, namespace)
}

// configured reads the configuration file, and has it read again when it changes. Which modes there are is settled at the
// start, for they go by more than the file; their order, and webhooks, may change.
func (a Authorization) configured(ctx context.Context) (registry.Authorizer, error) {
	modes := map[string]registry.Authorizer{}
	started := false
	file, err := OpenFile(a.ConfigFile, func(path string, data []byte) (Authorizers, error) {
		config, err := authorizationConfigs().Parse(path, data)
		if err != nil {
			return nil, err
		}
		chain := Authorizers{Masters{}}
		for i := range config.Authorizers {
			one := &config.Authorizers[i]
			authorizer, known := modes[one.Type]
			switch {
			case one.Type == "Webhook":
				authorizer, err = newWebhookAuthorizer(one.Webhook)
			case started && !known:
				err = fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", one.Type)
			case !known:
				authorizer, err = a.mode(ctx, one.Type)
				modes[one.Type] = authorizer
			}
			if err != nil {
				return nil, fmt.Errorf("%s: authorizer %s: %w", path, one.Name, err)
			}
			chain = append(chain, authorizer)
		}
		if missing := missingModes(modes, config); len(missing) > 0 {
			return nil, fmt.Errorf("%s: missing required types: %v", path, missing)
		}
		return chain, nil
	})
	if err != nil {
		return nil, err
	}
	started = true
	if a.Watch != nil {
		a.Watch.Watch(file)
	}
	return configuredAuthorizer{file}, nil
}

// missingModes are those that were there at the start and are no longer configured, in order.
func missingModes(modes map[string]registry.Authorizer, config *apiserverv1.AuthorizationConfiguration) (missing []string) {
	for mode := range modes {
		if !slices.ContainsFunc(config.Authorizers, func(one apiserverv1.AuthorizerConfiguration) bool { return one.Type == mode }) {
			missing = append(missing, mode)
		}
	}
	slices.Sort(missing)
	return missing
}
