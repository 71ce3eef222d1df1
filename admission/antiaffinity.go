package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// limitAntiAffinity keeps a pod from shutting others out of more than its own node: a required anti-affinity may speak of
// hosts alone.
func limitAntiAffinity() Plugin {
	return Plugin{Operations: []Operation{Create, Update}, Validate: func(_ context.Context, a *Attributes) error {
		pod, ok := a.pod()
		if !ok || pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
			return nil
		}
		for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey != corev1.LabelHostname {
				return apierrors.NewForbidden(a.Resource.GroupResource(), pod.Name, fmt.Errorf(
					"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %v but only key %v is allowed", term.TopologyKey, corev1.LabelHostname))
			}
		}
		return nil
	}}
}
