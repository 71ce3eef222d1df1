package server

import (
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

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// openTokens puts together who knows bearer tokens, in upstream's order, once there are objects to know them by.
func (s *security) openTokens(c *Config, r *registry.Registry, log *slog.Logger) error {
	own := c.apiAudiences()
	if c.TokenAuthFile != "" {
		file, err := auth.ReadTokenFile(c.TokenAuthFile, log)
		if err != nil {
			return err
		}
		s.tokens = append(s.tokens, auth.ForAnyAudience(own, file))
	}
	s.accounts = auth.NewAccountTokens(auth.AccountTokensConfig{
		Issuers: c.ServiceAccountIssuer, Audiences: own, Keys: s.accountKeys, Objects: objects{r}, Identities: objects{r},
		Lookup: c.ServiceAccountLookup, NoteUse: r.NoteTokenUse, Now: time.Now,
	})
	s.tokens = append(s.tokens, s.accounts)
	if c.BootstrapTokenAuth {
		s.tokens = append(s.tokens, auth.ForAnyAudience(own, &auth.BootstrapTokens{Objects: objects{r}, Now: time.Now}))
	}
	return nil
}

// openIssuer signs service account tokens with the configured key, or the cluster's own, and reads the keys that
// verify them.
func (s *security) openIssuer(c *Config) (err error) {
	var key crypto.Signer = s.pki.ServiceAccountKey
	if c.ServiceAccountSigning != "" {
		if key, err = auth.ReadSigningKey(c.ServiceAccountSigning); err != nil {
			return fmt.Errorf("--service-account-signing-key-file: %w", err)
		}
	}
	s.issuer, err = auth.NewIssuer(auth.IssuerConfig{Name: c.ServiceAccountIssuer[0], Audiences: c.apiAudiences(), Key: key,
		MaxLife: c.ServiceAccountMaxLife, Extend: c.ServiceAccountExtend})
	if err != nil {
		return err
	}
	if len(c.ServiceAccountKeys) == 0 {
		s.accountKeys, err = auth.NewVerificationKeys(key.Public())
		return err
	}
	if s.accountKeys, err = auth.ReadVerificationKeys(c.ServiceAccountKeys); err != nil {
		return fmt.Errorf("--service-account-key-file: %w", err)
	}
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
