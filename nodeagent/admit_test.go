package nodeagent

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	capacity := load{corev1.ResourcePods: 3, corev1.ResourceCPU: 1000, corev1.ResourceMemory: 100}
	for name, c := range map[string]struct {
		used, wants load
		reason      string
	}{
		"it fits to the last":                {load{corev1.ResourcePods: 2, corev1.ResourceCPU: 500}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 500}, ""},
		"there are too many pods":            {load{corev1.ResourcePods: 3}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 5000}, "OutOfpods"},
		"it wants more than is left":         {load{corev1.ResourceCPU: 501}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 500}, "OutOfcpu"},
		"what the node does not know of":     {nil, load{corev1.ResourcePods: 1, "example.com/gpu": 5}, ""},
		"nothing is wanted of what is short": {load{corev1.ResourceMemory: 200}, load{corev1.ResourcePods: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if v := refusal(capacity, c.used, c.wants); v != nil {
				got = v.reason
			}
			if got != c.reason {
				t.Errorf("%q, want %q", got, c.reason)
			}
		})
	}
}
