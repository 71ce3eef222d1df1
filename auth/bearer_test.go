package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

// refuser knows no token, and says why.
type refuser string

func (r refuser) AuthenticateToken(context.Context, string, []string) (*registry.User, []string, error) {
	if r == "" {
		return nil, nil, nil
	}
	return nil, nil, errors.New(string(r))
}

func TestReviewedTokensAreAnsweredAsRequestsAre(t *testing.T) {
	own := []string{"api", "api2"}
	file := ForAnyAudience(own, tokenFile(t, "good,alice,uid-1,devs\n"))
	alice := &registry.User{Name: "alice", UID: "uid-1", Groups: []string{"devs", authenticatedGroup}}
	for name, c := range map[string]struct {
		tokens Tokens
		token  string
		wanted []string
		user   *registry.User
		fit    []string
		reason string
	}{
		"the user is a member of system:authenticated":       {Tokens{file}, "good", nil, alice, own, ""},
		"a token without audience is good for the API's own": {Tokens{file}, "good", []string{"vault", "api2"}, alice, []string{"api2"}, ""},
		"and for nobody else":                                {Tokens{file}, "good", []string{"vault"}, nil, nil, "invalid bearer token"},
		"what nobody knows is invalid":                       {Tokens{file, refuser("")}, "bad", nil, nil, nil, "invalid bearer token"},
		"reasons are told, each once":                        {Tokens{refuser("a"), file, refuser("b"), refuser("a")}, "bad", nil, nil, nil, "[invalid bearer token, a, b]"},
		"reasons do not count where another knows the token": {Tokens{refuser("a"), file}, "good", nil, alice, own, ""},
	} {
		t.Run(name, func(t *testing.T) {
			user, fit, err := Reviewed{c.tokens}.AuthenticateToken(t.Context(), c.token, c.wanted)
			if d := cmp.Diff(c.user, user) + cmp.Diff(c.fit, fit); d != "" {
				t.Error(d)
			}
			if (err != nil) != (c.reason != "") || err != nil && err.Error() != c.reason {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestTokenBehindTwoSpacesIsWarnedOf(t *testing.T) {
	for header, warned := range map[string]int{"Bearer  good": 1, "Bearer ": 0, "Bearer good": 0, "Basic  good": 0} {
		heard := &said{notes: map[string]string{}}
		r := httptest.NewRequest("GET", "/", nil).WithContext(WithRemarks(t.Context(), heard))
		r.Header.Set("Authorization", header)
		if _, err := (bearer{Tokens{tokenFile(t, "good,alice,1\n")}}).Authenticate(r); err != nil || len(heard.warnings) != warned {
			t.Errorf("%q: %v, %v", header, heard.warnings, err)
		}
	}
}

// FuzzHeaders has anything stand where tokens stand: who does not know the token is nobody, and no handler sees it.
func FuzzHeaders(f *testing.F) {
	tokens := newTokenFile()
	tokens.put("good", &registry.User{Name: "alice"})
	authenticator := Authentication{Tokens: []registry.TokenAuthenticator{tokens}}.Authenticator()
	for _, header := range []string{"Bearer good", "bearer  good", "Bearer", "Bearer \x00", "Basic Z29vZA=="} {
		f.Add(header, bearerProtocol+"Z29vZA, x", true)
		f.Add(header, "x,,"+bearerProtocol+","+bearerProtocol+"Z29vZA", false)
	}
	f.Fuzz(func(t *testing.T, header, protocol string, socket bool) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Header: http.Header{"Authorization": {header}, protocolHeader: {protocol}}}
		if socket {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		unbroken := strings.NewReplacer("\r", "", "\n", "").Replace(protocol) // base64 may be broken into lines
		known := strings.Contains(header, "good") || socket && strings.Contains(unbroken, "Z29vZ")
		user, _ := authenticator.Authenticate(r)
		if user != nil && !known {
			t.Errorf("%q, %q is %v", header, protocol, user)
		}
	})
}
