package auth

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/test/openid"
)

// trust reads a configuration that trusts the issuer, and waits for its keys.
func trust(t *testing.T, i *openid.Issuer) (*File[*OpenIDIssuers], string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	write(t, path, i.Configuration(""))
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
	i, stranger := openid.Start(t), openid.Start(t)
	file, _ := trust(t, i)
	good := i.Token(t, nil)
	parts := strings.Split(good, ".")
	public, err := json.Marshal(i.Key().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": i.URL, "aud": "knarr", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	forged := stranger.Token(t, jwt.MapClaims{"iss": i.URL})
	for name, c := range map[string]struct {
		token string
		want  *registry.User
		fails bool
	}{
		"claims are the user": {token: i.Token(t, jwt.MapClaims{"id": "7", "tenant": "blue"}),
			want: &registry.User{Name: "oidc:alice", UID: "7", Groups: []string{"oidc:devs"}, Extra: map[string][]string{"acme.com/tenant": {"blue"}}}},
		"one of several audiences is enough": {token: i.Token(t, jwt.MapClaims{"aud": []string{"x", "other"}, "groups": nil}),
			want: &registry.User{Name: "oidc:alice"}},
		"an expired one is refused":                          {token: i.Token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), fails: true},
		"one that is not valid yet is refused":               {token: i.Token(t, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), fails: true},
		"one for somebody else is refused":                   {token: i.Token(t, jwt.MapClaims{"aud": "x"}), fails: true},
		"a claim that breaks a rule is refused":              {token: i.Token(t, jwt.MapClaims{"blocked": true}), fails: true},
		"a user that breaks a rule is refused":               {token: i.Token(t, jwt.MapClaims{"sub": "system:admin"}), fails: true},
		"without the claim of the name it is refused":        {token: i.Token(t, jwt.MapClaims{"sub": nil}), fails: true},
		"another issuer's is not this one's to judge":        {token: stranger.Token(t, nil)},
		"another issuer's key is refused":                    {token: forged, fails: true},
		"an unsigned one is refused":                         {token: signJWT(t, jwt.NewWithClaims(jwt.SigningMethodNone, claims), jwt.UnsafeAllowNoneSignatureType), fails: true},
		"a public key as a secret is refused":                {token: signJWT(t, jwt.NewWithClaims(jwt.SigningMethodHS256, claims), public), fails: true},
		"a cut one is refused":                               {token: good[:len(good)-10], fails: true},
		"claims under another token's signature are refused": {token: parts[0] + "." + strings.Split(i.Token(t, jwt.MapClaims{"sub": "bob"}), ".")[1] + "." + parts[2], fails: true},
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
	i := openid.Start(t)
	file, _ := trust(t, i)
	for _, id := range []string{"first", "second", "third"} {
		i.Rotate(t, id)
		for range 3 {
			if user, _, err := file.Get().AuthenticateToken(t.Context(), i.Token(t, nil), nil); user == nil {
				t.Fatalf("a token of the %s key: %v", id, err)
			}
		}
	}
	if n := i.Fetched.Load(); n > 4 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

func TestIssuerThatIsAwayIsWaitedForInTheBackground(t *testing.T) {
	i := openid.Start(t)
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	write(t, path, i.Configuration(""))
	token := i.Token(t, nil)
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
	i, j := openid.Start(t), openid.Start(t)
	file, path := trust(t, i)
	knows := func(token string) bool {
		user, _, _ := OpenIDFile{file}.AuthenticateToken(t.Context(), token, nil)
		return user != nil
	}
	of, other := i.Token(t, nil), j.Token(t, nil)
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
		{"anonymous requests may not be spoken of anew", func() { write(t, path, i.Configuration("anonymous: {enabled: false}\n")) }, "changed from initial configuration file", true},
		{"another issuer replaces the first", func() { write(t, path, j.Configuration("")) }, "", false},
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
