package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

// issuer is an OpenID Connect provider: a discovery document, keys that may be rotated, and tokens.
type issuer struct {
	*httptest.Server
	keys    atomic.Pointer[issuerKeys]
	fetched atomic.Int64 // times that the keys were asked for
}

type issuerKeys struct {
	id  string
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.rotate(t, "first")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetched.Add(1)
		k := i.keys.Load()
		encode := base64.RawURLEncoding.EncodeToString
		answer := map[string]any{"keys": []any{map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
			"n": encode(k.key.N.Bytes()), "e": encode(big.NewInt(int64(k.key.E)).Bytes())}}}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) rotate(t *testing.T, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.keys.Store(&issuerKeys{id, key})
}

func (i *issuer) authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

// token signs claims; those not given are as they should be, and nil takes one out.
func (i *issuer) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"iss": i.URL, "aud": "knarr", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"devs"}}
	for claim, value := range claims {
		all[claim] = value
		if value == nil {
			delete(all, claim)
		}
	}
	k := i.keys.Load()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = k.id
	return signJWT(t, token, k.key)
}

// configuration is a file that trusts the issuer.
func (i *issuer) configuration(t *testing.T, path, more string) {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
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
%s`, i.URL, i.authority(), more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (i *issuer) trusted(t *testing.T) (*File[*OpenIDIssuers], string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	i.configuration(t, path, "")
	file, err := OpenIDTrust{Audiences: []string{"api"}, OwnIssuers: []string{"https://own"}, Log: slog.New(slog.DiscardHandler)}.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Get().Stop() })
	if err := file.Get().await(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	return file, path
}

func signJWT(t *testing.T, token *jwt.Token, key any) string {
	t.Helper()
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOpenIDTokens(t *testing.T) {
	i, stranger := newIssuer(t), newIssuer(t)
	file, _ := i.trusted(t)
	good := i.token(t, nil)
	parts := strings.Split(good, ".")
	public, err := json.Marshal(i.keys.Load().key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": i.URL, "aud": "knarr", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	forged := stranger.token(t, jwt.MapClaims{"iss": i.URL})
	for name, c := range map[string]struct {
		token string
		want  *registry.User
		fails bool
	}{
		"claims are the user": {token: i.token(t, jwt.MapClaims{"id": "7", "tenant": "blue"}),
			want: &registry.User{Name: "oidc:alice", UID: "7", Groups: []string{"oidc:devs"}, Extra: map[string][]string{"acme.com/tenant": {"blue"}}}},
		"one of several audiences is enough": {token: i.token(t, jwt.MapClaims{"aud": []string{"x", "other"}, "groups": nil}),
			want: &registry.User{Name: "oidc:alice"}},
		"an expired one is refused":                          {token: i.token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), fails: true},
		"one that is not valid yet is refused":               {token: i.token(t, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), fails: true},
		"one for somebody else is refused":                   {token: i.token(t, jwt.MapClaims{"aud": "x"}), fails: true},
		"a claim that breaks a rule is refused":              {token: i.token(t, jwt.MapClaims{"blocked": true}), fails: true},
		"a user that breaks a rule is refused":               {token: i.token(t, jwt.MapClaims{"sub": "system:admin"}), fails: true},
		"without the claim of the name it is refused":        {token: i.token(t, jwt.MapClaims{"sub": nil}), fails: true},
		"another issuer's is not this one's to judge":        {token: stranger.token(t, nil)},
		"another issuer's key is refused":                    {token: forged, fails: true},
		"an unsigned one is refused":                         {token: signJWT(t, jwt.NewWithClaims(jwt.SigningMethodNone, claims), jwt.UnsafeAllowNoneSignatureType), fails: true},
		"a public key as a secret is refused":                {token: signJWT(t, jwt.NewWithClaims(jwt.SigningMethodHS256, claims), public), fails: true},
		"a cut one is refused":                               {token: good[:len(good)-10], fails: true},
		"claims under another token's signature are refused": {token: parts[0] + "." + strings.Split(i.token(t, jwt.MapClaims{"sub": "bob"}), ".")[1] + "." + parts[2], fails: true},
		"what is no token at all is not this one's to judge": {token: "opaque"},
		"two dots alone are not this one's to judge":         {token: ".."},
	} {
		t.Run(name, func(t *testing.T) {
			user, fit, err := OpenIDFile{file}.AuthenticateToken(t.Context(), c.token, nil)
			if (err != nil) != c.fails {
				t.Fatalf("%v, %v", user, err)
			}
			if err != nil && strings.Contains(err.Error(), c.token) {
				t.Errorf("the error contains the token: %v", err)
			}
			if user != nil && len(user.Extra) == 0 {
				user.Extra = nil
			}
			if d := cmp.Diff(c.want, user); d != "" {
				t.Error(d)
			}
			if user != nil && !cmp.Equal(fit, []string{"api"}) {
				t.Errorf("it is good for %v", fit)
			}
		})
	}
	if user, _, err := (OpenIDFile{file}).AuthenticateToken(t.Context(), good, []string{"elsewhere"}); user != nil || err != nil {
		t.Errorf("wanted elsewhere, it is %v, %v", user, err)
	}
}

func TestRotatedKeysOfAnIssuerAreFetched(t *testing.T) {
	i := newIssuer(t)
	file, _ := i.trusted(t)
	for _, id := range []string{"first", "second", "third"} {
		i.rotate(t, id)
		for range 3 {
			if user, _, err := file.Get().AuthenticateToken(t.Context(), i.token(t, nil), nil); user == nil {
				t.Fatalf("a token of the %s key: %v", id, err)
			}
		}
	}
	if n := i.fetched.Load(); n > 4 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

func TestIssuerThatIsAwayIsWaitedForInTheBackground(t *testing.T) {
	i := newIssuer(t)
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	i.configuration(t, path, "")
	token := i.token(t, nil)
	i.Close()
	file, err := OpenIDTrust{Log: slog.New(slog.DiscardHandler)}.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Get().Stop()
	if user, _, err := file.Get().AuthenticateToken(t.Context(), token, nil); user != nil || err == nil {
		t.Errorf("%v, %v", user, err)
	}
}

func TestChangedIssuersAreTakenIntoUse(t *testing.T) {
	i, j := newIssuer(t), newIssuer(t)
	file, path := i.trusted(t)
	knows := func(token string) bool {
		user, _, _ := OpenIDFile{file}.AuthenticateToken(t.Context(), token, nil)
		return user != nil
	}
	of, other := i.token(t, nil), j.token(t, nil)
	if !knows(of) || knows(other) {
		t.Fatal("the first file does not hold")
	}
	for _, step := range []struct {
		name  string
		write func()
		fails string
		first bool // whether the first issuer's tokens are good
	}{
		{"a broken file is refused", func() { write(t, path, "kind: x\n") }, ":1: ", true},
		{"a rule that does not compile is refused", func() {
			write(t, path, "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://x', audiences: [a]}\n  claimMappings:\n    username:\n      expression: 'claims.'\n")
		}, ":7: jwt[0].claimMappings.username.expression: Invalid value", true},
		{"one's own issuer is refused", func() {
			write(t, path, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://own', audiences: [a]}\n  claimMappings:\n    username: {claim: sub, prefix: ''}\n")
		}, ":4: jwt[0].issuer.url: Invalid value", true},
		{"anonymous requests may not be spoken of anew", func() { i.configuration(t, path, "anonymous: {enabled: false}\n") }, "changed from initial configuration file", true},
		{"another issuer replaces the first", func() { j.configuration(t, path, "") }, "", false},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.write()
			_, err := file.reload()
			if step.fails == "" && err != nil || step.fails != "" && (err == nil || !strings.Contains(err.Error(), step.fails)) {
				t.Errorf("reload: %v", err)
			}
			if knows(of) != step.first || knows(other) == step.first {
				t.Errorf("tokens of the first issuer: %v, of the other: %v", knows(of), knows(other))
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationLimitsAnonymousRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	write(t, path, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous:\n  enabled: true\n  conditions:\n  - path: /livez\n")
	file, err := OpenIDTrust{Log: slog.New(slog.DiscardHandler)}.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for path, in := range map[string]bool{"/livez": true, "/livez/": false, "/api": false} {
		user, err := file.Get().Anonymous().Authenticate(httptest.NewRequest("GET", path, nil))
		if err != nil || (user != nil) != in {
			t.Errorf("%s: %v, %v", path, user, err)
		}
	}
}
