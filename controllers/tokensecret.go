package controllers

import (
	"bytes"
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// tokenSecrets promises that a Secret of type kubernetes.io/service-account-token holds a token of the account that it
// names, with what the API server is verified by; that it goes with the account; and that no account refers to one that is
// gone.
//
// An account that the cache does not have is looked for in the API before its tokens are thrown away.
type tokenSecrets struct {
	secrets, accounts *Source
	sign              func(ctx context.Context, account *corev1.ServiceAccount, secret string) (string, error)
	rootCA            []byte

	mu   sync.Mutex // guards gone
	gone map[Key]accountName
}

// accountName names an account of a Secret's namespace. The UID is empty if any will do.
type accountName struct {
	name string
	uid  types.UID
}

func tokenSecretLoop(c *Config) Loop {
	if c.SignToken == nil {
		return Loop{}
	}
	x := &tokenSecrets{secrets: c.Source(&corev1.Secret{}), accounts: c.Source(&corev1.ServiceAccount{}),
		sign: c.SignToken, rootCA: c.RootCA, gone: map[Key]accountName{}}
	return Loop{Watches: []Watch{{x.secrets, x.changed}, {x.accounts, x.orphaned}}, Reconcile: x.reconcile}
}

// accountOf is the account that a Secret is to have a token of; false if it is to have none.
func accountOf(s *corev1.Secret) (accountName, bool) {
	a := accountName{s.Annotations[corev1.ServiceAccountNameKey], types.UID(s.Annotations[corev1.ServiceAccountUIDKey])}
	return a, s.Type == corev1.SecretTypeServiceAccountToken && a.name != ""
}

// is reports that an account is the named one.
func (a accountName) is(account metav1.Object) bool {
	return account != nil && account.GetName() == a.name && (a.uid == "" || a.uid == account.GetUID())
}

func (x *tokenSecrets) changed(old, now metav1.Object) []Key {
	k := itself(old, now)[0]
	if now == nil {
		now = old
		if a, token := accountOf(old.(*corev1.Secret)); token {
			x.mu.Lock()
			x.gone[k] = a
			x.mu.Unlock()
		}
	}
	if _, token := accountOf(now.(*corev1.Secret)); !token {
		return nil
	}
	return []Key{k}
}

// orphaned are the Secrets of an account that has gone, or been replaced.
func (x *tokenSecrets) orphaned(old, now metav1.Object) (keys []Key) {
	if old == nil || now != nil && now.GetUID() == old.GetUID() {
		return nil
	}
	for _, o := range x.secrets.all(old.GetNamespace()) {
		if a, token := accountOf(o.(*corev1.Secret)); token && a.uid != "" && a.is(old) {
			keys = append(keys, KeyOf(o))
		}
	}
	return keys
}

func (x *tokenSecrets) reconcile(ctx context.Context, t *Turn) error {
	secret, there := x.secrets.cached(t.Key).(*corev1.Secret)
	if !there {
		return x.forget(ctx, t)
	}
	wanted, token := accountOf(secret)
	if !token {
		return nil
	}
	account, err := x.account(ctx, t, wanted)
	switch {
	case err != nil:
		return err
	case account == nil:
		return Delete(ctx, t, t.Client.CoreV1().Secrets(t.Namespace), secret, metav1.DeleteOptions{})
	case complete(secret, x.rootCA):
		return nil
	}
	filled, err := x.fill(ctx, secret, account)
	if err != nil {
		return err
	}
	_, err = Update(ctx, t, t.Client.CoreV1().Secrets(t.Namespace), filled)
	if apierrors.IsConflict(err) {
		return nil // it comes back with what has changed it
	}
	return goneAlready(err)
}

// account is the named account; nil if there is none.
func (x *tokenSecrets) account(ctx context.Context, t *Turn, wanted accountName) (*corev1.ServiceAccount, error) {
	if account, there := x.accounts.cached(Key{t.Namespace, wanted.name}).(*corev1.ServiceAccount); there && wanted.is(account) {
		return account, nil
	}
	account, err := t.Client.CoreV1().ServiceAccounts(t.Namespace).Get(ctx, wanted.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !wanted.is(account) {
		return nil, nil
	}
	return account, err
}

// complete reports that a Secret holds what it has to.
func complete(s *corev1.Secret, rootCA []byte) bool {
	return len(s.Data[corev1.ServiceAccountTokenKey]) > 0 && len(s.Data[corev1.ServiceAccountNamespaceKey]) > 0 &&
		(len(rootCA) == 0 || bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], rootCA))
}

// fill is a Secret with what it lacks. A token that it has stays.
func (x *tokenSecrets) fill(ctx context.Context, s *corev1.Secret, account *corev1.ServiceAccount) (*corev1.Secret, error) {
	s = s.DeepCopy()
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	if len(x.rootCA) > 0 {
		s.Data[corev1.ServiceAccountRootCAKey] = x.rootCA
	}
	if len(s.Data[corev1.ServiceAccountNamespaceKey]) == 0 {
		s.Data[corev1.ServiceAccountNamespaceKey] = []byte(s.Namespace)
	}
	if len(s.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := x.sign(ctx, account, s.Name)
		if err != nil {
			return nil, err
		}
		s.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	return s, nil
}

// forget takes the reference to a Secret that is gone from its account.
func (x *tokenSecrets) forget(ctx context.Context, t *Turn) error {
	x.mu.Lock()
	of, known := x.gone[t.Key]
	x.mu.Unlock()
	if !known {
		return nil
	}
	accounts := t.Client.CoreV1().ServiceAccounts(t.Namespace)
	named := func(r corev1.ObjectReference) bool { return r.Name == t.Name }
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if cached := x.accounts.cached(Key{t.Namespace, of.name}); !of.is(cached) {
			return nil
		}
		account, err := accounts.Get(ctx, of.name, metav1.GetOptions{})
		if err != nil || !of.is(account) || !slices.ContainsFunc(account.Secrets, named) {
			return err
		}
		account.Secrets = slices.DeleteFunc(account.Secrets, named)
		_, err = Update(ctx, t, accounts, account)
		return err
	})
	if err := goneAlready(err); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.gone, t.Key)
	return nil
}
