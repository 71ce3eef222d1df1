package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// denyExternalIPs refuses new external addresses of Services: nobody checks whose they are (CVE-2020-8554). Those that a
// Service has, it keeps.
func denyExternalIPs() Plugin {
	return Plugin{Operations: []Operation{Create, Update}, Validate: func(_ context.Context, a *Attributes) error {
		service, ok := a.Object.(*corev1.Service)
		if !ok || !a.Is("", "services") {
			return nil
		}
		var had []string
		if old, ok := a.Old.(*corev1.Service); ok {
			had = old.Spec.ExternalIPs
		}
		for _, ip := range service.Spec.ExternalIPs {
			if !slices.Contains(had, ip) {
				return a.forbid("Use of external IPs is denied by admission control")
			}
		}
		return nil
	}}
}
