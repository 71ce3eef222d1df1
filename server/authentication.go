package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"k8s.io/client-go/util/cert"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// openAuthenticator puts together how users prove who they are, once there are objects to know tokens by.
func (s *security) openAuthenticator(c *Config, r *registry.Registry, log *slog.Logger) (err error) {
	a := auth.Authentication{ClientCAs: s.clientCAs, Anonymous: auth.Anonymous{Enabled: c.AnonymousAuth}}
	if a.Proxy, err = s.openProxy(&c.Proxy); err != nil {
		return err
	}
	s.proxy = a.Proxy
	if c.BasicAuthFile != "" {
		log.Warn("--basic-auth-file is deprecated: passwords in a file cannot expire; use client certificates or tokens")
		if a.Passwords, err = auth.OpenFile(c.BasicAuthFile, auth.ParsePasswords); err != nil {
			return fmt.Errorf("--basic-auth-file: %w", err)
		}
		s.pki.Watch(a.Passwords)
	}
	// Local ones first, then those that may ask elsewhere, so that no token is shown to others that is known here.
	if err := errors.Join(s.openTokens(c, r, log), s.openOpenID(c, log), s.openTokenWebhook(&c.TokenWebhook)); err != nil {
		return err
	}
	a.Tokens = s.tokens
	if err := s.limitAnonymous(c, &a, log); err != nil {
		return err
	}
	s.authenticator = a.Authenticator()
	return nil
}

// limitAnonymous applies what the configuration file says of anonymous requests, or else the flag.
func (s *security) limitAnonymous(c *Config, a *auth.Authentication, log *slog.Logger) error {
	if c.AuthenticationConfig != "" {
		if said := s.issuers.Get().Anonymous(); said != nil {
			if !c.AnonymousAuth {
				return errors.New("--anonymous-auth cannot be set when --authentication-config speaks of anonymous requests: remove one")
			}
			a.Anonymous = *said
			return nil
		}
	}
	if a.Anonymous.Enabled && slices.Contains(c.Authorization.modes(), "AlwaysAllow") {
		log.Warn("anonymous requests are refused, because --authorization-mode=AlwaysAllow would let everybody do everything")
		a.Anonymous.Enabled = false
	}
	return nil
}

// openProxy trusts the cluster's own front proxy, or the one configured.
func (s *security) openProxy(c *ProxyConfig) (*auth.FrontProxy, error) {
	proxy, err := c.Open(s.pki.ProxyAuthority)
	if err != nil || c.CAFile == "" {
		return proxy, err
	}
	foreign := proxy.Authorities
	s.pki.Watch(foreign)
	if len(proxy.AllowedNames) == 0 {
		for _, clients := range s.clientCAs {
			if shareCertificate(clients.PEM(), foreign.PEM()) {
				return nil, errors.New("--requestheader-client-ca-file has an authority that signs clients' certificates too: name the proxy in --requestheader-allowed-names, else every client could claim to be anybody")
			}
		}
	}
	return proxy, nil
}

func shareCertificate(a, b []byte) bool {
	of, err := cert.ParseCertsPEM(a)
	others, otherErr := cert.ParseCertsPEM(b)
	if err != nil || otherErr != nil {
		return false
	}
	for _, one := range of {
		for _, other := range others {
			if bytes.Equal(one.Raw, other.Raw) {
				return true
			}
		}
	}
	return false
}

// openOpenID trusts the issuers of the configuration file, or the one that the flags name.
func (s *security) openOpenID(c *Config, log *slog.Logger) error {
	o := auth.OpenIDTrust{Audiences: s.issuer.Audiences(), OwnIssuers: c.ServiceAccountIssuer, Log: log}
	switch {
	case c.AuthenticationConfig != "":
		file, err := o.OpenFile(c.AuthenticationConfig)
		if err != nil {
			return fmt.Errorf("--authentication-config: %w", err)
		}
		s.issuers = file
		s.pki.Watch(file)
		s.tokens = append(s.tokens, auth.OpenIDFile{File: file})
	case c.OIDC.Issuer != "":
		config, err := c.OIDC.configuration()
		if err != nil {
			return err
		}
		issuers, err := o.Issuers(config, c.OIDC.Algorithms)
		if err != nil {
			return fmt.Errorf("--oidc flags: %w", err)
		}
		s.stop = append(s.stop, issuers.Stop)
		s.tokens = append(s.tokens, issuers)
	}
	return nil
}

func (s *security) openTokenWebhook(c *TokenWebhookConfig) error {
	if c.ConfigFile == "" {
		return nil
	}
	service, err := auth.OpenWebhook(c.ConfigFile)
	if err != nil {
		return fmt.Errorf("--authentication-token-webhook-config-file: %w", err)
	}
	tokens, err := auth.NewTokenWebhook(service, c.Version, s.issuer.Audiences(), c.CacheTTL)
	if err != nil {
		return fmt.Errorf("--authentication-token-webhook-version: %w", err)
	}
	s.tokens = append(s.tokens, tokens)
	return nil
}

// close ends what goes on in the background.
func (s *security) close() {
	for _, stop := range s.stop {
		stop()
	}
	if s.issuers != nil {
		s.issuers.Get().Stop()
	}
}
