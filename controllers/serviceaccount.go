package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// defaultAccount is the account of pods that name none.
const defaultAccount = "default"

// serviceAccounts promises that every active namespace has a service account named default, also after somebody has
// deleted it.
type serviceAccounts struct{ namespaces, accounts *Source }

func serviceAccountLoop(c *Config) Loop {
	x := &serviceAccounts{c.Source(&corev1.Namespace{}), c.Source(&corev1.ServiceAccount{})}
	return Loop{
		Watches:   []Watch{{x.namespaces, itself}, {x.accounts, namespaceThatLost(defaultAccount)}},
		Reconcile: x.reconcile,
	}
}

// namespaceThatLost is the key of a namespace in which the object of that name has been deleted.
func namespaceThatLost(name string) func(old, now metav1.Object) []Key {
	return func(old, now metav1.Object) []Key {
		if now != nil || old.GetName() != name {
			return nil
		}
		return []Key{{Name: old.GetNamespace()}}
	}
}

func (x *serviceAccounts) reconcile(ctx context.Context, t *Turn) error {
	namespace, there := x.namespaces.cached(t.Key).(*corev1.Namespace)
	if !there || namespace.Status.Phase != corev1.NamespaceActive || x.accounts.cached(Key{t.Name, defaultAccount}) != nil {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: t.Name, Name: defaultAccount}}
	_, err := Create(ctx, t, t.Client.CoreV1().ServiceAccounts(t.Name), account)
	if apierrors.IsAlreadyExists(err) || inGoingNamespace(err) {
		return nil
	}
	return err
}

// inGoingNamespace tells refusals of what nobody needs any more: the namespace is about to be deleted, or gone.
func inGoingNamespace(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
