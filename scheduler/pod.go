package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod as plugins look at it: what they need of it, computed once for each version.
type Pod struct {
	*corev1.Pod
	Requests     Amounts
	ScoredCPU    int64 // millicores that scores reckon with
	ScoredMemory int64 // bytes
	Ports        []HostPort
	// Affinity are the pod's terms about other pods; nil if it has none.
	Affinity *affinity

	labelKey string     // names the pod's class
	class    *class     // of pods with the same namespace and labels, while the pod is on a node or looked at
	held     []*holding // what the pod's terms are counted in, while it is on a node
}

// HostPort is a port of a node's that a pod takes.
type HostPort struct {
	IP       string // "0.0.0.0" is all addresses
	Protocol corev1.Protocol
	Port     int32
}

// newPod computes what is needed of a pod.
func newPod(pod *corev1.Pod) *Pod {
	p := &Pod{Pod: pod, Ports: hostPorts(pod), Affinity: affinityOf(pod), labelKey: labelKey(pod.Namespace, pod.Labels)}
	p.Requests, p.ScoredCPU, p.ScoredMemory = requestsOf(pod)
	return p
}

// on is the pod as it will be once it is bound.
func (p *Pod) on(node string) *Pod {
	placed, bound := *p, *p.Pod
	bound.Spec.NodeName = node
	placed.Pod, placed.class, placed.held = &bound, nil, nil
	return &placed
}

// priority is the pod's; what has none is of priority 0.
func (p *Pod) priority() int32 { return priorityOf(p.Pod) }

func priorityOf(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func (p *Pod) terminating() bool { return p.DeletionTimestamp != nil }

func (p *Pod) key() types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// isFinished reports that a pod's containers will never run again: it takes nothing of its node.
func isFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// hostPorts are those of containers that run for long: init containers only if they are sidecars.
func hostPorts(pod *corev1.Pod) []HostPort {
	var ports []HostPort
	collect := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				ports = append(ports, newHostPort(p.HostIP, p.Protocol, p.HostPort))
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			collect(c)
		}
	}
	for i := range pod.Spec.Containers {
		collect(&pod.Spec.Containers[i])
	}
	return ports
}

func newHostPort(ip string, protocol corev1.Protocol, port int32) HostPort {
	if ip == "" {
		ip = anyAddress
	}
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	return HostPort{ip, protocol, port}
}

// anyAddress is an address that conflicts with every other.
const anyAddress = "0.0.0.0"

// conflicts reports that two pods cannot have these ports of one node.
func (p HostPort) conflicts(q HostPort) bool {
	return p.Port == q.Port && p.Protocol == q.Protocol && (p.IP == q.IP || p.IP == anyAddress || q.IP == anyAddress)
}

// claims are the names of the claims that a pod's volumes name themselves or that are made for them.
func claims(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}

// labelKey is the same for pods that no selector can tell from each other.
func labelKey(namespace string, labels map[string]string) string {
	keys := make([]string, 0, 8)
	for k := range labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	b.WriteString(namespace)
	for _, k := range keys {
		b.WriteByte(0)
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(labels[k])
	}
	return b.String()
}
