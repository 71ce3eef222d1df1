package nodeagent

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// podField is a field of a pod that its own containers may know (the downward API).
func podField(p *corev1.Pod, path string, around *surroundings) (string, error) {
	if of, key, ok := subscript(path); ok {
		switch of {
		case "metadata.annotations":
			return p.Annotations[key], nil
		case "metadata.labels":
			return p.Labels[key], nil
		}
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	first := func(ips []string) string {
		if len(ips) == 0 {
			return ""
		}
		return ips[0]
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return lines(p.Labels), nil
	case "metadata.annotations":
		return lines(p.Annotations), nil
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(around.hostIPs), nil
	case "status.hostIPs":
		return strings.Join(around.hostIPs, ","), nil
	case "status.podIP":
		return first(around.podIPs), nil
	case "status.podIPs":
		return strings.Join(around.podIPs, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// subscript takes apart a path that ends in ['key'].
func subscript(path string) (of, key string, ok bool) {
	inner, ok := strings.CutSuffix(path, "']")
	if !ok {
		return "", "", false
	}
	of, key, ok = strings.Cut(inner, "['")
	return of, key, ok && of != ""
}

// lines are the entries of a map, one a line: key="value".
func lines(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(out, "\n")
}

// resourceField is what a container requests or may use at most, in units of a divisor, rounded up. Without a limit it is
// what the node has.
func resourceField(p *corev1.Pod, c *corev1.Container, f *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	if f.ContainerName != "" {
		if c = containerNamed(p, f.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", f.ContainerName)
		}
	}
	divisor := f.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	list, name, _ := strings.Cut(f.Resource, ".")
	of, known := map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests}[list]
	resourceName := corev1.ResourceName(name)
	switch resourceName {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
	default:
		known = known && strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	}
	if !known {
		return "", fmt.Errorf("unsupported container resource : %v", f.Resource)
	}
	amount := of[resourceName]
	if list == "limits" && amount.IsZero() && !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
		amount = allocatable[resourceName]
	}
	parts := float64(amount.Value()) / float64(divisor.Value())
	if resourceName == corev1.ResourceCPU {
		parts = float64(amount.MilliValue()) / float64(divisor.MilliValue())
	}
	return strconv.FormatInt(int64(math.Ceil(parts)), 10), nil
}
