package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// CompletePod makes of a pod that came by another way than the API what the API would have made of it: it has its defaults,
// and is valid.
func CompletePod(p *corev1.Pod) error {
	defaultPod(p)
	if errs := validatePod(nil, p, nil); len(errs) > 0 {
		return fmt.Errorf("invalid pod: %v", errs)
	}
	return nil
}
