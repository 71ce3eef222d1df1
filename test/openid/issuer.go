// Package openid is an OpenID Connect issuer for tests: a discovery document, one key that may be rotated, and tokens with
// whatever claims a test wants. It serves HTTPS on the loopback interface and ends with its test.
package openid

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer is a running issuer. Its URL is its name.
type Issuer struct {
	*httptest.Server
	Fetched atomic.Int64 // times that the keys were asked for

	current atomic.Pointer[signingKey]
}

type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

// Start starts an issuer with a key.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.Rotate(t, "first")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.Fetched.Add(1)
		i.serveKeys(t, w)
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *Issuer) serveKeys(t testing.TB, w http.ResponseWriter) {
	k := i.current.Load()
	encode := base64.RawURLEncoding.EncodeToString
	one := map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
		"n": encode(k.key.N.Bytes()), "e": encode(big.NewInt(int64(k.key.E)).Bytes())}
	if err := json.NewEncoder(w).Encode(map[string]any{"keys": []any{one}}); err != nil {
		t.Error(err)
	}
}

// Rotate replaces the key.
func (i *Issuer) Rotate(t testing.TB, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.current.Store(&signingKey{id, key})
}

// Key is the present key.
func (i *Issuer) Key() *rsa.PrivateKey { return i.current.Load().key }

// Authority is what vouches for the issuer's certificate, in PEM.
func (i *Issuer) Authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

// Token signs claims: alice of the group devs, for the client knarr, for an hour, but for what is given. A nil takes a
// claim out.
func (i *Issuer) Token(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"iss": i.URL, "aud": "knarr", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"devs"}}
	for claim, value := range claims {
		all[claim] = value
		if value == nil {
			delete(all, claim)
		}
	}
	k := i.current.Load()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = k.id
	text, err := token.SignedString(k.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Configuration is an AuthenticationConfiguration that trusts the issuer, with more at its end. Names and groups begin
// with "oidc:".
func (i *Issuer) Configuration(more string) string {
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [knarr, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: %q
  claimValidationRules:
  - expression: '!has(claims.blocked) || claims.blocked != true'
    message: blocked
  claimMappings:
    username: {expression: '"oidc:" + claims.sub'}
    groups: {claim: groups, prefix: 'oidc:'}
    uid: {expression: 'claims.?id.orValue("")'}
    extra:
    - {key: acme.com/tenant, valueExpression: 'claims.?tenant.orValue("")'}
  userValidationRules:
  - expression: '!user.username.startsWith("oidc:system:")'
    message: reserved
%s`, i.URL, i.Authority(), more)
}
