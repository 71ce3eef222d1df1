package registry

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serviceAccount is the identity of pods. Its token sub-resource issues tokens for it.
func serviceAccount() *Resource {
	return Kind[*corev1.ServiceAccount]{
		Resource: Resource{
			Plural: "serviceaccounts", Singular: "serviceaccount", Kind: "ServiceAccount", ShortNames: []string{"sa"},
			Namespaced: true, Prefix: "serviceaccounts", Governs: true, Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{nameColumn(), ageColumn()},
			Subresources: []Subresource{{
				Name: "token", Verbs: []string{"create"},
				Kind:   authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
				New:    func() Object { return &authenticationv1.TokenRequest{} },
				Create: requestToken, Complete: completeTokenRequest,
			}},
		},
		Prepare: keepSecretNames,
		Warn:    warnServiceAccount,
		Cells: func(a *corev1.ServiceAccount) []any {
			return []any{a.Name, Age{At: a.CreationTimestamp}}
		},
	}.row()
}

// keepSecretNames drops all but the names: an account's secrets are in its own namespace.
func keepSecretNames(_ *Write, a, _ *corev1.ServiceAccount) {
	for i, s := range a.Secrets {
		a.Secrets[i] = corev1.ObjectReference{Name: s.Name}
	}
}

// warnServiceAccount warns of a deprecated annotation where it is added.
func warnServiceAccount(_ *Write, a, old *corev1.ServiceAccount) []string {
	const key = "kubernetes.io/enforce-mountable-secrets"
	if _, set := a.Annotations[key]; !set {
		return nil
	}
	if old != nil {
		if _, before := old.Annotations[key]; before {
			return nil
		}
	}
	return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", key)}
}
