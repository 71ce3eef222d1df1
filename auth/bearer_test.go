package auth

import (
	"context"
	"errors"
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
