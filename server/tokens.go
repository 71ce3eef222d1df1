package server

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// openTokens puts together who knows bearer tokens, in upstream's order, once there are objects to know them by.
func (s *security) openTokens(c *Config, r *registry.Registry, log *slog.Logger) error {
	own := c.apiAudiences()
	if c.TokenAuthFile != "" {
		file, err := auth.ReadTokenFile(c.TokenAuthFile, log)
		if err != nil {
			return fmt.Errorf("--token-auth-file: %w", err)
		}
		s.tokens = append(s.tokens, auth.ForAnyAudience(own, file))
	}
	s.accounts = auth.NewAccountTokens(auth.AccountTokensConfig{
		Issuers: c.ServiceAccountIssuer, Audiences: own, Keys: s.accountKeys, Objects: objects{registry: r}, Identities: objects{registry: r},
		Lookup: c.ServiceAccountLookup, NoteUse: r.NoteTokenUse, Now: time.Now,
	})
	s.tokens = append(s.tokens, s.accounts)
	if c.BootstrapTokenAuth {
		secrets := objects{registry: r, cached: true}
		s.tokens = append(s.tokens, auth.ForAnyAudience(own, &auth.BootstrapTokens{Objects: secrets, Now: time.Now}))
	}
	return nil
}

// openIssuer opens who signs service account tokens, and what verifies them: a key in this process, the configured one
// or the cluster's own, or a signer elsewhere.
func (s *security) openIssuer(ctx context.Context, c *Config, log *slog.Logger) error {
	config := auth.IssuerConfig{Name: c.ServiceAccountIssuer[0], Audiences: c.apiAudiences(), MaxLife: c.ServiceAccountMaxLife}
	if c.ServiceAccountExtend {
		config.Extended = 365 * 24 * time.Hour
	}
	var err error
	if c.ServiceAccountSigner != "" {
		err = s.openSigner(ctx, c, &config, log)
	} else {
		err = s.openSigningKey(c, &config)
	}
	s.issuer = auth.NewIssuer(config)
	return err
}

// openSigningKey reads keys from files, or takes the cluster's own.
func (s *security) openSigningKey(c *Config, config *auth.IssuerConfig) (err error) {
	var key crypto.Signer = s.pki.ServiceAccountKey
	if c.ServiceAccountSigning != "" {
		if key, err = auth.ReadSigningKey(c.ServiceAccountSigning); err != nil {
			return fmt.Errorf("--service-account-signing-key-file: %w", err)
		}
	}
	if config.Signer, err = auth.SignWith(key); err != nil {
		return err
	}
	keys, err := auth.NewVerificationKeys(key.Public())
	if len(c.ServiceAccountKeys) > 0 {
		if keys, err = auth.ReadVerificationKeys(c.ServiceAccountKeys); err != nil {
			return fmt.Errorf("--service-account-key-file: %w", err)
		}
	}
	s.accountKeys = auth.FixedKeys(keys)
	return err
}

// SignToken signs tokens that lie in Secrets; nil if tokens are signed elsewhere, where none that never expire are.
func (s *Server) SignToken() func(ctx context.Context, account *corev1.ServiceAccount, secret string) (string, error) {
	if s.security.signer != nil {
		return nil
	}
	return s.security.issuer.IssueLegacy
}

// openSigner connects to a signer elsewhere, which bounds how long its tokens may live.
func (s *security) openSigner(ctx context.Context, c *Config, config *auth.IssuerConfig, log *slog.Logger) (err error) {
	if s.signer, err = auth.DialSigner(ctx, c.ServiceAccountSigner, log); err != nil {
		return fmt.Errorf("--service-account-signing-endpoint: %w", err)
	}
	most := s.signer.MaxLife
	if config.MaxLife > most {
		return fmt.Errorf("--service-account-max-token-expiration is %v, but the signer's tokens live for %v at most", config.MaxLife, most)
	}
	if config.MaxLife == 0 {
		config.MaxLife = most
	}
	config.Extended = min(config.Extended, most)
	config.Signer, s.accountKeys = s.signer, s.signer
	return nil
}

// apiAudiences are the audiences of tokens that are for this API.
func (c *Config) apiAudiences() []string {
	if len(c.APIAudiences) > 0 {
		return c.APIAudiences
	}
	return c.ServiceAccountIssuer
}

// checkTokenIssuers says what is wrong with who issues tokens, and where their keys are.
func (c *Config) checkTokenIssuers() error {
	var errs []error
	if len(c.ServiceAccountIssuer) == 0 {
		errs = append(errs, errors.New("--service-account-issuer names none"))
	}
	for i, issuer := range c.ServiceAccountIssuer {
		switch _, err := url.Parse(issuer); {
		case issuer == "":
			errs = append(errs, errors.New("--service-account-issuer has an empty name"))
		case strings.Contains(issuer, ":") && err != nil:
			errs = append(errs, fmt.Errorf("--service-account-issuer: %q has a colon, but is no URL: %w", issuer, err))
		case slices.Contains(c.ServiceAccountIssuer[:i], issuer):
			errs = append(errs, fmt.Errorf("--service-account-issuer names %q twice", issuer))
		}
	}
	if at, err := url.Parse(c.ServiceAccountJWKSURI); err != nil || c.ServiceAccountJWKSURI != "" && at.Scheme != "https" {
		errs = append(errs, fmt.Errorf("--service-account-jwks-uri is %q: it begins with https://", c.ServiceAccountJWKSURI))
	}
	return errors.Join(errs...)
}

// externalAddress is the host and port under which others outside the cluster find this server.
func (c *Config) externalAddress(network registry.Network) string {
	host := c.ExternalHostname
	if host == "" {
		host = network.AdvertiseAddress.String()
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(c.SecurePort))
}
