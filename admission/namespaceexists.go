package admission

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// namespaceExists refuses what is said of a namespace that is not there. NamespaceLifecycle, which runs by default, does
// so too, save for deletions.
func namespaceExists(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create, Update, Delete}, Validate: func(ctx context.Context, a *Attributes) error {
		if a.Namespace == "" || a.isNamespace() {
			return nil
		}
		_, err := objects.Get(ctx, "", "namespaces", "", a.Namespace)
		if err != nil && !apierrors.IsNotFound(err) {
			err = apierrors.NewInternalError(err)
		}
		return err
	}}
}
