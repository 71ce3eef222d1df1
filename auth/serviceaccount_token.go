package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/knarr-dev/knarr/registry"
)

// AccountTokens knows the tokens of service accounts. There are two sorts, both JWTs: those of TokenRequests, which
// expire and may be bound to a pod, secret or node, and those that lie in Secrets, which are as good as their Secret.
//
//	token -> verify the signature (remembered) -> for this audience? -> in time? -> account and bound object alive? -> user
//
// Everything after the signature is decided anew for each request, from the watch cache: a token dies with what it is
// bound to.
type AccountTokens struct {
	config   AccountTokensConfig
	parser   *jwt.Parser
	verified *verifiedTokens
	uses     TokenUses
}

// AccountTokensConfig is what AccountTokens is told.
type AccountTokensConfig struct {
	Issuers   []string // whose tokens are accepted, beside those of Secrets
	Audiences []string // the API server's own
	Keys      KeySource
	// Objects and Identities are those of the cluster: Secrets and accounts whole, what tokens are bound to as far as needed.
	Objects    registry.Objects
	Identities registry.Identities
	// Lookup has tokens of Secrets compared with their Secret; without, a good signature is enough.
	Lookup bool
	// NoteUse writes the day (2006-01-02, UTC) on a Secret whose token was used.
	NoteUse func(ctx context.Context, secret *corev1.Secret, day string)
	Now     func() time.Time
}

// TokenUses counts by what kinds of token service accounts were known.
type TokenUses struct {
	Legacy  atomic.Int64 // without an audience
	Manual  atomic.Int64 // of Secrets that somebody made
	Auto    atomic.Int64 // of Secrets that an account lists
	Invalid atomic.Int64 // of Secrets that are marked invalid
	Valid   atomic.Int64 // that live longer than was asked for, in their time
	Stale   atomic.Int64 // the same, after their time
}

// NewAccountTokens returns an authenticator of the tokens that the keys verify.
func NewAccountTokens(config AccountTokensConfig) *AccountTokens {
	return &AccountTokens{config: config, verified: newVerifiedTokens(),
		parser: jwt.NewParser(jwt.WithoutClaimsValidation())}
}

// Uses are the counts since the start.
func (a *AccountTokens) Uses() *TokenUses { return &a.uses }

// leeway is how far the clocks of those who issue and those who verify may differ, and how long what is marked for
// deletion still counts.
const leeway = time.Minute

// Upstream's words, which TokenReviews show.
var (
	errNoKey        = errors.New("invalid signature, no keys found")
	errBadSignature = errors.New("go-jose/go-jose: error in cryptographic primitive")
)

// verifiedToken is what a token with a good signature says.
type verifiedToken struct {
	claims tokenClaims
	user   *registry.User // shared, never changed
	keys   *KeySet        // of which one has signed it
}

// tokenClaims are those of both sorts of token.
type tokenClaims struct {
	accountClaims
	legacyClaims
}

// AuthenticateToken returns the account as a user. A token of another issuer, or none that can be read, is not ours to
// judge.
func (a *AccountTokens) AuthenticateToken(ctx context.Context, token string, wanted []string) (*registry.User, []string, error) {
	now := a.config.Now()
	t, err := a.verify(ctx, token, now)
	if t == nil {
		return nil, nil, err
	}
	fit, err := a.fit(ctx, &t.claims, wanted)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	if t.claims.Issuer == legacyIssuer {
		user, err := a.legacyUser(ctx, token, &t.claims, now)
		if err == nil {
			return user, fit, nil
		}
		errs = append(errs, err)
	}
	if slices.Contains(a.config.Issuers, t.claims.Issuer) { // which may be the name of the legacy issuer, too
		if err := a.holds(ctx, &t.claims.accountClaims, now); err == nil {
			return t.user, fit, nil
		} else {
			errs = append(errs, err)
		}
	}
	return nil, nil, utilerrors.NewAggregate(errs)
}

// verify returns what a token of one of our issuers says, once its signature is found good; nil for other tokens. When
// there are other keys, what was verified before is verified again.
func (a *AccountTokens) verify(ctx context.Context, token string, now time.Time) (*verifiedToken, error) {
	if strings.Count(token, ".") != 2 {
		return nil, nil
	}
	digest, known := a.verified.find(token, now)
	if known != nil && known.keys.same(a.config.Keys.Keys()) {
		return known, nil
	}
	claims, keys, err := a.read(ctx, token)
	if claims == nil || err != nil {
		return nil, err
	}
	t := &verifiedToken{claims: *claims, user: claims.user(), keys: keys}
	a.verified.remember(digest, t, now)
	return t, nil
}

// rawClaims are the claims as they stand in a token; of them only the issuer is read before the signature is verified.
type rawClaims struct {
	jwt.MapClaims `json:"-"` // for the methods that a parser wants; it is told not to call them
	raw           json.RawMessage
	issuer        string
	nullAudience  bool // which must not pass for the audience that tokens of Secrets do without
}

func (c *rawClaims) UnmarshalJSON(data []byte) error {
	var own struct {
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"`
	}
	if err := json.Unmarshal(data, &own); err != nil {
		return err
	}
	c.raw, c.issuer, c.nullAudience = slices.Clone(data), own.Issuer, string(own.Audience) == "null"
	return nil
}

func (a *AccountTokens) read(ctx context.Context, token string) (*tokenClaims, *KeySet, error) {
	var raw rawClaims
	unverified, _, err := a.parser.ParseUnverified(token, &raw)
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) || !a.ours(raw.issuer) || !wellHeaded(unverified.Header) {
		return nil, nil, nil
	}
	id, _ := unverified.Header["kid"].(string)
	set := a.config.Keys.Keys()
	if len(set.Keys.named(id)) == 0 {
		set = a.config.Keys.Search(ctx, id)
	}
	keys := set.Keys.named(id)
	if len(keys) == 0 {
		return nil, nil, errNoKey
	}
	if _, err = a.parser.ParseWithClaims(token, &raw, keys.fit); err != nil {
		return nil, nil, errBadSignature
	}
	claims := &tokenClaims{}
	if err := json.Unmarshal(raw.raw, claims); err != nil || raw.nullAudience {
		return nil, nil, errors.New("the claims of the service account token cannot be read")
	}
	return claims, set, nil
}

func (a *AccountTokens) ours(issuer string) bool {
	return issuer == legacyIssuer || slices.Contains(a.config.Issuers, issuer)
}

// wellHeaded refuses tokens that demand of their reader what is not done here (RFC 7515, "crit").
func wellHeaded(header map[string]any) bool {
	kid, named := header["kid"]
	_, isText := kid.(string)
	_, demanding := header["crit"]
	return !demanding && (!named || isText)
}

// fit are the keys that take the algorithm that a token says it is signed in.
func (keys VerificationKeys) fit(t *jwt.Token) (any, error) {
	var set jwt.VerificationKeySet
	for _, k := range keys {
		if slices.Contains(k.algorithms, t.Method.Alg()) {
			set.Keys = append(set.Keys, k.public)
		}
	}
	return set, nil // of none, nothing is verified
}

// fit are those of the wanted audiences that a token was made for. Tokens of Secrets name none, and are for the API
// server alone.
func (a *AccountTokens) fit(ctx context.Context, c *tokenClaims, wanted []string) ([]string, error) {
	made := []string(c.Audience)
	if len(made) == 0 {
		a.uses.Legacy.Add(1)
		remarksOf(ctx).Annotate("authentication.k8s.io/legacy-token", c.Subject)
		made = a.config.Audiences
	}
	if len(wanted) == 0 {
		wanted = a.config.Audiences
	}
	fit := commonAudiences(wanted, made)
	if len(fit) == 0 && len(a.config.Audiences) > 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", made, wanted)
	}
	return fit, nil
}

// commonAudiences are those wanted that are among those that there are.
func commonAudiences(wanted, there []string) []string {
	var common []string
	for _, audience := range wanted {
		if slices.Contains(there, audience) {
			common = append(common, audience)
		}
	}
	return common
}
