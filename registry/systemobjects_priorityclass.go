package registry

import (
	"context"
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// systemPriorityClasses are the classes of pods that a cluster cannot do without.
func systemPriorityClasses() []*schedulingv1.PriorityClass {
	return []*schedulingv1.PriorityClass{
		{
			ObjectMeta:  metav1.ObjectMeta{Name: "system-node-critical"},
			Value:       systemCriticalPriority + 1000,
			Description: "Used for system critical pods that must not be moved from their current node.",
		},
		{
			ObjectMeta:  metav1.ObjectMeta{Name: "system-cluster-critical"},
			Value:       systemCriticalPriority,
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
		},
	}
}

// EnsurePriorityClasses creates the system's priority classes where they are missing.
func (r *Registry) EnsurePriorityClasses(ctx context.Context) error {
	row := r.Resource(schedulingv1.GroupName, "priorityclasses")
	for _, c := range systemPriorityClasses() {
		_, err := r.Store(row.Group, row.Plural).Get(ctx, objectKey(c), "")
		if apierrors.IsNotFound(err) {
			_, err = r.Create(ctx, row, c)
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create priority class %s: %w", c.Name, err)
		}
	}
	return nil
}
