package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// namespaceLifecycle keeps the system's namespaces, and lets nothing be created in a namespace that does not exist or
// is on its way out. Namespaces are read as fresh as etcd has them: one that has just been made counts, and so does the
// deletion of one.
func namespaceLifecycle(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create, Update, Delete}, Mutate: func(ctx context.Context, a *Attributes) error {
		switch {
		case a.Operation == Delete && a.isNamespace() && slices.Contains(systemNamespaces(), a.Name):
			return a.forbid("this namespace may not be deleted")
		case a.Operation == Delete, a.Namespace == "", a.isNamespace():
			return nil
		case a.Is("authorization.k8s.io", "localsubjectaccessreviews"):
			return nil // its answer must not tell which namespaces there are
		}
		found, err := objects.Get(ctx, "", "namespaces", "", a.Namespace)
		switch {
		case apierrors.IsNotFound(err):
			return err
		case err != nil:
			return apierrors.NewInternalError(err)
		}
		if a.Operation == Create && found.(*corev1.Namespace).Status.Phase == corev1.NamespaceTerminating {
			return terminating(a)
		}
		return nil
	}}
}

// isNamespace tells writes of namespaces, through a sub-resource or not, from those within one.
func (a *Attributes) isNamespace() bool {
	return a.Resource.Group == "" && a.Resource.Resource == "namespaces"
}

// systemNamespaces may not be deleted.
func systemNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}
}

// terminating carries a cause by which controllers know that trying again is of no use.
func terminating(a *Attributes) error {
	err := a.forbid("unable to create new content in namespace %s because it is being terminated", a.Namespace).(*apierrors.StatusError)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace"})
	return err
}
