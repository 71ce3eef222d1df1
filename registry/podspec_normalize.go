package registry

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// normalizePodTemplate brings a template to the form in which it is kept, whatever spelling the client used.
func normalizePodTemplate(t *corev1.PodTemplateSpec) {
	t.Annotations = withoutInitAnnotations(t.Annotations)
	normalizePodSpec(&t.Spec)
}

// normalizePodSpec keeps the two names of the service account alike; the newer one wins.
func normalizePodSpec(s *corev1.PodSpec) {
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	s.DeprecatedServiceAccount = s.ServiceAccountName
}

// normalizePod does the same for a pod and its status.
func normalizePod(p *corev1.Pod) {
	p.Annotations = withoutInitAnnotations(p.Annotations)
	normalizePodSpec(&p.Spec)
	// Pods alone: templates have always kept a negative period.
	if grace := p.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	normalizePodIPs(&p.Status)
}

// normalizePodIPs keeps the address and the list of addresses alike. Where they differ the single address is right: a
// node agent that knows no list has written it.
func normalizePodIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
}

// withoutInitAnnotations drops the annotations that init containers were before they were a field, lest they take
// effect on old node agents.
func withoutInitAnnotations(annotations map[string]string) map[string]string {
	copied := false
	for _, key := range [...]string{
		"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
		"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
	} {
		if _, found := annotations[key]; found && !copied {
			annotations, copied = maps.Clone(annotations), true
		}
		if copied {
			delete(annotations, key)
		}
	}
	return annotations
}
