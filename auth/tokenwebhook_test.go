package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/registry"
)

// reviewService answers TokenReviews by the token, and fails as often as it is told.
func reviewService(t *testing.T, failures *atomic.Int64, code int, asked *[]authenticationv1.TokenReview) registry.TokenAuthenticator {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(code)
			return
		}
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		*asked = append(*asked, review)
		switch review.Spec.Token {
		case "good":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "alice", UID: "7",
				Groups: []string{"devs"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}}
		case "elsewhere":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"x"}, User: authenticationv1.UserInfo{Username: "bob"}}
		case "expired":
			review.Status.Error = "expired"
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	service, err := NewWebhook(&rest.Config{Host: s.URL + "/some/path"})
	if err != nil {
		t.Fatal(err)
	}
	service.retry.Duration = time.Millisecond
	tokens, err := NewTokenWebhook(service, "v1beta1", []string{"api"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTokenWebhook(t *testing.T) {
	alice := &registry.User{Name: "alice", UID: "7", Groups: []string{"devs"}, Extra: map[string][]string{"k": {"v"}}}
	for name, c := range map[string]struct {
		token     string
		audiences []string
		failures  int64
		code      int
		want      *registry.User
		fit       []string
		fails     bool
	}{
		"the service's user is the user":                {token: "good", want: alice, fit: []string{"api"}},
		"an answer without audiences is for the server": {token: "good", audiences: []string{"x", "api"}, want: alice, fit: []string{"api"}},
		"and for nobody else":                           {token: "good", audiences: []string{"x"}},
		"an answer for others is not for the server":    {token: "elsewhere"},
		"but for those":                                 {token: "elsewhere", audiences: []string{"x"}, want: &registry.User{Name: "bob"}, fit: []string{"x"}},
		"unknown is nobody":                             {token: "bad"},
		"the service's error is told":                   {token: "expired", fails: true},
		"a service that breaks down is asked again":     {token: "good", failures: 2, code: 500, want: alice, fit: []string{"api"}},
		"one that is overloaded too":                    {token: "good", failures: 1, code: 429, want: alice, fit: []string{"api"}},
		"but not for ever":                              {token: "good", failures: 5, code: 500, fails: true},
		"one that refuses is not asked again":           {token: "good", failures: 1, code: 403, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var failures atomic.Int64
			failures.Store(c.failures)
			var asked []authenticationv1.TokenReview
			user, fit, err := reviewService(t, &failures, c.code, &asked).AuthenticateToken(t.Context(), c.token, c.audiences)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if err != nil && strings.Contains(err.Error(), c.token) && c.token != "expired" {
				t.Errorf("the error contains the token: %v", err)
			}
			if d := cmp.Diff(c.want, user); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.fit, fit); d != "" {
				t.Error(d)
			}
			for _, review := range asked {
				if review.APIVersion != "authentication.k8s.io/v1beta1" || review.Kind != "TokenReview" {
					t.Errorf("asked with %v", review.TypeMeta)
				}
			}
		})
	}
}

// counted answers like an authenticator elsewhere.
type counted struct {
	asked atomic.Int64
	user  *registry.User
	err   error
	wait  chan struct{}
}

func (c *counted) AuthenticateToken(_ context.Context, _ string, audiences []string) (*registry.User, []string, error) {
	c.asked.Add(1)
	if c.wait != nil {
		<-c.wait
	}
	return c.user, audiences, c.err
}

func TestTokensAreRememberedForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		next  *counted
		after time.Duration
		asked int64
	}{
		"a known one":                   {&counted{user: &registry.User{Name: "alice"}}, 50 * time.Second, 1},
		"a known one, until it is over": {&counted{user: &registry.User{Name: "alice"}}, 70 * time.Second, 2},
		"an unknown one":                {&counted{}, 5 * time.Second, 1},
		"an unknown one, until it over": {&counted{}, 15 * time.Second, 2},
		"an error is not remembered":    {&counted{err: errors.New("away")}, time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := rememberTokens(c.next, time.Minute, 10*time.Second)
				for range 2 {
					if user, _, err := cache.AuthenticateToken(t.Context(), "x", nil); user != c.next.user || err != c.next.err {
						t.Errorf("%v, %v", user, err)
					}
					time.Sleep(c.after)
				}
				if n := c.next.asked.Load(); n != c.asked {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestTokenIsAskedAboutOnceForAllWhoWait(t *testing.T) {
	next := &counted{user: &registry.User{Name: "alice"}, wait: make(chan struct{})}
	synctest.Test(t, func(t *testing.T) {
		next.wait = make(chan struct{})
		cache := rememberTokens(next, time.Minute, 0)
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := cache.AuthenticateToken(impatient, "x", nil); !errors.Is(err, context.Canceled) {
				t.Errorf("whoever leaves gets %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if user, _, err := cache.AuthenticateToken(t.Context(), "x", nil); user == nil {
					t.Errorf("whoever stays gets %v", err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(next.wait)
		all.Wait()
		if n := next.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestTokensMadeUpWithoutEndDoNotFillTheMemory(t *testing.T) {
	cache := rememberTokens(&counted{}, time.Minute, time.Minute)
	for i := range 2 * maxTokens {
		cache.remember(keyOfToken("t", []string{string(rune(i))}), nil, nil)
	}
	if n := len(cache.kept); n > maxTokens {
		t.Errorf("%d are kept", n)
	}
	if keyOfToken("ab", []string{"c"}) == keyOfToken("a", []string{"bc"}) {
		t.Error("two tokens are one")
	}
}
