package admission

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// namespaceProvision makes the namespace that something is created in, if it is not there yet. A dry run makes nothing.
func namespaceProvision(h Host) (Plugin, error) {
	return Plugin{Operations: []Operation{Create}, Mutate: func(ctx context.Context, a *Attributes) error {
		if a.DryRun || a.Namespace == "" || a.isNamespace() {
			return nil
		}
		_, err := h.Objects.Get(ctx, "", "namespaces", "", a.Namespace)
		if apierrors.IsNotFound(err) {
			err = h.CreateNamespace(ctx, a.Namespace)
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return a.refuse(err)
		}
		return nil
	}}, nil
}
