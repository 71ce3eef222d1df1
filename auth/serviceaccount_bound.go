package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/knarr-dev/knarr/registry"
)

// errInvalidated says no more than that: what became of an object is not for everybody to know.
var errInvalidated = errors.New("service account token has been invalidated")

// holds says why the token of a TokenRequest is not good any more, or not yet.
func (a *AccountTokens) holds(ctx context.Context, c *accountClaims, now time.Time) error {
	if err := inTime(&c.RegisteredClaims, now); err != nil {
		return err
	}
	if err := a.accountLives(ctx, c.Kubernetes.Namespace, c.Kubernetes.Account, now); err != nil {
		return err
	}
	if err := a.bindingsLive(ctx, &c.Kubernetes, now); err != nil {
		return err
	}
	a.noteStaleness(ctx, c, now)
	return nil
}

func inTime(c *jwt.RegisteredClaims, now time.Time) error {
	switch {
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time):
		return errors.New("service account token is not valid yet")
	case c.ExpiresAt != nil && now.Add(-leeway).After(c.ExpiresAt.Time):
		return errors.New("service account token has expired")
	case c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time):
		return errors.New("service account token is issued in the future")
	}
	return nil
}

// accountLives wants the account itself to be there: not one that was made anew under its name.
func (a *AccountTokens) accountLives(ctx context.Context, namespace string, account reference, now time.Time) error {
	if account.Name == "" {
		return errors.New("resource name may not be empty")
	}
	live, err := a.config.Identities.Identity(ctx, "", "serviceaccounts", namespace, account.Name)
	switch {
	case err != nil:
		return err
	case string(live.UID) != account.UID:
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", live.UID, account.UID)
	case longDeleted(live, now):
		return fmt.Errorf("service account %s/%s has been deleted", namespace, account.Name)
	}
	return nil
}

// bindingsLive looks at what a token is bound to. The node that stands beside a pod is only told, for who has the pod's
// token runs where the pod runs.
func (a *AccountTokens) bindingsLive(ctx context.Context, c *boundClaims, now time.Time) error {
	bindings := []struct {
		to                      *reference
		plural, namespace, word string
	}{
		{c.Secret, "secrets", c.Namespace, "secret"},
		{c.Pod, "pods", c.Namespace, "pod"},
		{c.Node, "nodes", "", "node"},
	}
	for _, b := range bindings {
		if b.to == nil || b.to == c.Node && c.Pod != nil {
			continue
		}
		live, err := a.config.Identities.Identity(ctx, "", b.plural, b.namespace, b.to.Name)
		switch {
		case err != nil:
			return errInvalidated
		case string(live.UID) != b.to.UID:
			return fmt.Errorf("%[1]s UID (%[2]s) does not match service account %[1]s ref claim (%[3]s)", b.word, live.UID, b.to.UID)
		case longDeleted(live, now):
			return errInvalidated
		}
	}
	return nil
}

// longDeleted leaves what shuts down a while to do so.
func longDeleted(i registry.Identity, now time.Time) bool {
	return !i.Deleted.IsZero() && i.Deleted.Before(now.Add(-leeway))
}

// noteStaleness tells of tokens that only work still because they were given longer than was asked for.
func (a *AccountTokens) noteStaleness(ctx context.Context, c *accountClaims, now time.Time) {
	due := c.Kubernetes.WarnAfter
	switch {
	case due == nil || due.Unix() == 0:
	case now.After(due.Time):
		a.uses.Stale.Add(1)
		remarksOf(ctx).Annotate("authentication.k8s.io/stale-token",
			fmt.Sprintf("subject: %s, seconds after warning threshold: %d", c.Subject, now.Unix()-due.Unix()))
	default:
		a.uses.Valid.Add(1)
	}
}

// The prefix of service accounts' user names, and the group that all are members of.
const (
	accountPrefix = "system:serviceaccount:"
	accountsGroup = "system:serviceaccounts"
)

func accountUserName(namespace, name string) string { return accountPrefix + namespace + ":" + name }

func accountGroups(namespace string) []string {
	return []string{accountsGroup, accountsGroup + ":" + namespace}
}

func accountUser(namespace, name, uid string) *registry.User {
	return &registry.User{Name: accountUserName(namespace, name), UID: uid, Groups: accountGroups(namespace)}
}

// user is the account, with the credential and what it is bound to as extra.
func (c *accountClaims) user() *registry.User {
	k := c.Kubernetes
	u := accountUser(k.Namespace, k.Account.Name, k.Account.UID)
	u.Extra = map[string][]string{}
	add := func(key, value string) {
		if value != "" {
			u.Extra["authentication.kubernetes.io/"+key] = []string{value}
		}
	}
	if k.Pod != nil && k.Pod.Name != "" && k.Pod.UID != "" {
		add("pod-name", k.Pod.Name)
		add("pod-uid", k.Pod.UID)
	}
	if k.Node != nil && k.Node.Name != "" {
		add("node-name", k.Node.Name)
		add("node-uid", k.Node.UID)
	}
	if c.ID != "" {
		add("credential-id", "JTI="+c.ID)
	}
	if len(u.Extra) == 0 {
		u.Extra = nil
	}
	return u
}
