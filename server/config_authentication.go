package server

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/knarr-dev/knarr/auth"
)

// ProxyConfig is the front proxy, which tells in headers who its users are. The other parts of a cluster believe one likewise.
type ProxyConfig struct {
	CAFile        string   `flag:"client-ca-file" help:"authorities of the front proxy's certificate (default: the cluster's own for that purpose, where it is at hand; else none is believed)"`
	AllowedNames  []string `flag:"allowed-names" help:"common names of the front proxy's certificate; none means every name that --requestheader-client-ca-file vouches for (default, without that file: front-proxy-client)"`
	UserHeaders   []string `flag:"username-headers" help:"headers in which the front proxy names the user; the first that has a value counts"`
	UIDHeaders    []string `flag:"uid-headers" help:"headers in which the front proxy names the user's UID; the first that has a value counts"`
	GroupHeaders  []string `flag:"group-headers" help:"headers in which the front proxy names the user's groups"`
	ExtraPrefixes []string `flag:"extra-headers-prefix" help:"beginnings of the names of headers in which the front proxy tells more of the user"`
}

// DefaultProxy names the headers that most use.
func DefaultProxy() ProxyConfig {
	h := auth.StandardHeaders()
	return ProxyConfig{UserHeaders: h.UserHeaders, UIDHeaders: h.UIDHeaders, GroupHeaders: h.GroupHeaders, ExtraPrefixes: h.ExtraPrefixes}
}

// Open is the proxy that is believed: the one configured, or that of the cluster's own authority; nil if there is neither.
func (c *ProxyConfig) Open(own *auth.Bundle) (*auth.FrontProxy, error) {
	p := &auth.FrontProxy{Authorities: own, AllowedNames: c.AllowedNames, UserHeaders: c.UserHeaders, UIDHeaders: c.UIDHeaders,
		GroupHeaders: c.GroupHeaders, ExtraPrefixes: c.ExtraPrefixes}
	switch {
	case c.CAFile != "":
		var err error
		if p.Authorities, err = auth.OpenBundle(c.CAFile); err != nil {
			return nil, fmt.Errorf("--requestheader-client-ca-file: %w", err)
		}
	case own == nil:
		return nil, nil
	case len(p.AllowedNames) == 0:
		p.AllowedNames = []string{auth.ProxyName}
	}
	return p, nil
}

// Check names what is wrong.
func (c *ProxyConfig) Check() error {
	var errs []error
	for _, one := range []struct {
		flag   string
		values []string
	}{{"username-headers", c.UserHeaders}, {"uid-headers", c.UIDHeaders}, {"group-headers", c.GroupHeaders},
		{"extra-headers-prefix", c.ExtraPrefixes}, {"allowed-names", c.AllowedNames}} {
		if slices.ContainsFunc(one.values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			errs = append(errs, fmt.Errorf("--requestheader-%s has an empty value", one.flag))
		}
	}
	return errors.Join(errs...)
}

// OIDCConfig is one OpenID Connect issuer; --authentication-config takes several, and says more of each.
type OIDCConfig struct {
	Issuer         string         `flag:"issuer-url" help:"URL (https) of an OpenID Connect issuer whose tokens are accepted"`
	Client         string         `flag:"client-id" help:"client, that is audience, for which the issuer's tokens have to be"`
	CAFile         string         `flag:"ca-file" help:"authorities of the issuer's certificate (default: the machine's)"`
	UsernameClaim  string         `flag:"username-claim" help:"claim that is the user's name"`
	UsernamePrefix string         `flag:"username-prefix" help:"put before the user's name; - for nothing (default: the issuer's URL and #, unless the claim is email)"`
	GroupsClaim    string         `flag:"groups-claim" help:"claim that lists the user's groups"`
	GroupsPrefix   string         `flag:"groups-prefix" help:"put before each group"`
	Algorithms     []string       `flag:"signing-algs" help:"algorithms by which the issuer may sign: RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512"`
	Required       RequiredClaims `flag:"required-claim" help:"claim=value that a token has to have; may be repeated"`
}

func defaultOIDC() OIDCConfig {
	return OIDCConfig{UsernameClaim: "sub", Algorithms: []string{"RS256"}, Required: RequiredClaims{}}
}

func (c *OIDCConfig) check(file string) error {
	more := c.CAFile != "" || c.UsernamePrefix != "" || c.GroupsClaim != "" || c.GroupsPrefix != "" || len(c.Required) > 0
	switch {
	case file != "" && (more || c.Issuer != "" || c.Client != ""):
		return errors.New("--authentication-config and the --oidc flags exclude each other: name the issuer in the file")
	case (c.Issuer == "") != (c.Client == ""), more && c.Issuer == "":
		return errors.New("--oidc-issuer-url and --oidc-client-id belong together, and other --oidc flags need them")
	}
	return nil
}

// configuration is what the flags are a short form of.
func (c *OIDCConfig) configuration() (*apiserverv1.AuthenticationConfiguration, error) {
	prefix := c.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && c.UsernameClaim != "email":
		prefix = c.Issuer + "#"
	}
	one := apiserverv1.JWTAuthenticator{Issuer: apiserverv1.Issuer{URL: c.Issuer, Audiences: []string{c.Client}}}
	one.ClaimMappings.Username = apiserverv1.PrefixedClaimOrExpression{Claim: c.UsernameClaim, Prefix: &prefix}
	if c.GroupsClaim != "" {
		one.ClaimMappings.Groups = apiserverv1.PrefixedClaimOrExpression{Claim: c.GroupsClaim, Prefix: &c.GroupsPrefix}
	}
	if c.CAFile != "" {
		authorities, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		one.Issuer.CertificateAuthority = string(authorities)
	}
	for _, claim := range slices.Sorted(maps.Keys(c.Required)) {
		one.ClaimValidationRules = append(one.ClaimValidationRules, apiserverv1.ClaimValidationRule{Claim: claim, RequiredValue: c.Required[claim]})
	}
	return &apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{one}}, nil
}

// RequiredClaims are claims that a token has to have. As a flag it takes one claim=value, whose value may contain
// commas, and may be repeated.
type RequiredClaims map[string]string

// Set adds a claim.
func (c RequiredClaims) Set(text string) error {
	claim, value, ok := strings.Cut(text, "=")
	if !ok || strings.TrimSpace(claim) == "" {
		return fmt.Errorf("%q is not of the form claim=value", text)
	}
	c[strings.TrimSpace(claim)] = strings.TrimSpace(value)
	return nil
}

// String shows the claims as the flag takes them.
func (c RequiredClaims) String() string {
	var all []string
	for _, claim := range slices.Sorted(maps.Keys(c)) {
		all = append(all, claim+"="+c[claim])
	}
	return strings.Join(all, ",")
}

// Type is what the flag's help calls it.
func (RequiredClaims) Type() string { return "claim=value" }

// TokenWebhookConfig is a service that knows whose tokens are.
type TokenWebhookConfig struct {
	ConfigFile string        `flag:"config-file" help:"kubeconfig of a service that is asked whose a bearer token is, by a TokenReview"`
	Version    string        `flag:"version" help:"version of that TokenReview: v1 or v1beta1"`
	CacheTTL   time.Duration `flag:"cache-ttl" help:"how long its answers are remembered"`
}

func defaultTokenWebhook() TokenWebhookConfig {
	return TokenWebhookConfig{Version: "v1beta1", CacheTTL: 2 * time.Minute}
}

func (c *TokenWebhookConfig) check() error {
	if c.CacheTTL < 0 {
		return errors.New("--authentication-token-webhook-cache-ttl must not be below 0")
	}
	return nil
}

// checkAuthentication names what does not fit together.
func (c *Config) checkAuthentication() error {
	return errors.Join(c.Proxy.Check(), c.OIDC.check(c.AuthenticationConfig), c.TokenWebhook.check())
}
