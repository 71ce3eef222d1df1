package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// heard is a server that notes what requests bear, and answers with a code.
type heard struct {
	code   int
	tokens []string
}

func (h *heard) RoundTrip(r *http.Request) (*http.Response, error) {
	h.tokens = append(h.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	return &http.Response{StatusCode: h.code, Body: http.NoBody, Request: r}, nil
}

func TestAccountsHaveTokens(t *testing.T) {
	t.Parallel()
	s, _ := startAPI(t)
	admin := adminOf(t, s)
	far := &outside{config: &rest.Config{Host: "https://knarr"}, accounts: &accountTokens{client: admin, known: map[string]*accountToken{}}}
	server := &heard{code: http.StatusOK}
	way := far.account("some-controller").WrapTransport(server)
	ask := func() string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://knarr/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := way.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if r.Header.Get("Authorization") != "" {
			t.Error("the caller's request is changed")
		}
		return server.tokens[len(server.tokens)-1]
	}
	first := ask()
	if first == "" {
		t.Fatal("no token")
	}
	if _, err := admin.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(t.Context(), "some-controller", metav1.GetOptions{}); err != nil {
		t.Errorf("the account is not made: %v", err)
	}
	if ask() != first {
		t.Error("a token is asked for although there is one")
	}
	if other := far.account("some-controller").WrapTransport(server).(bearing); other.token != far.accounts.of("some-controller") {
		t.Error("clients of one account have tokens of their own")
	}
	server.code = http.StatusUnauthorized
	ask()
	server.code = http.StatusOK
	second := ask()
	if second == first {
		t.Error("a token that was refused is used again")
	}
	token := far.accounts.of("some-controller")
	if left := time.Until(token.until); left < accountTokenLife*7/10 || left > accountTokenLife*9/10 {
		t.Errorf("the token is renewed in %v, of %v", left, accountTokenLife)
	}
	token.until = time.Now()
	if ask() == second {
		t.Error("a token is used until its end")
	}
}

func TestWithoutAccountsThereIsOneIdentity(t *testing.T) {
	far := &outside{config: &rest.Config{Host: "https://knarr", BearerToken: "its own"}}
	if c := far.account("some-controller"); c.BearerToken != "its own" || c.WrapTransport != nil {
		t.Errorf("%v", c)
	}
}
