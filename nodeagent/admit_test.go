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

func TestPortsOfTheNodeAreTakenOnce(t *testing.T) {
	pod := func(ip string, protocol corev1.Protocol, port int32) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {HostIP: ip, Protocol: protocol, HostPort: port}}}}}}
	}
	for name, c := range map[string]struct {
		has, wants *corev1.Pod
		refused    bool
	}{
		"the same port":                     {pod("", "", 80), pod("", "", 80), true},
		"another port":                      {pod("", "", 80), pod("", "", 81), false},
		"another protocol":                  {pod("", "TCP", 80), pod("", "UDP", 80), false},
		"another address":                   {pod("10.0.0.1", "", 80), pod("10.0.0.2", "", 80), false},
		"all addresses are also this one":   {pod("0.0.0.0", "", 80), pod("10.0.0.2", "", 80), true},
		"this one is also of all addresses": {pod("10.0.0.1", "", 80), pod("", "", 80), true},
		"a container's port is its own":     {&corev1.Pod{}, pod("", "", 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			taken := map[hostPort]bool{}
			for _, port := range hostPortsOf(c.has) {
				taken[port] = true
			}
			if v := portRefusal(taken, hostPortsOf(c.wants)); (v != nil) != c.refused {
				t.Errorf("refused: %v, want %t", v, c.refused)
			}
		})
	}
}
