package nodeagent

import (
	"fmt"
	"maps"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
	taints "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// question is whether a node takes a pod.
type question struct {
	pod            *corev1.Pod
	static         bool
	node           *corev1.Node // its labels and taints, as known
	features       *corev1.NodeFeatures
	capacity, used load
	taken          map[hostPort]bool
}

// ground is one on which a node refuses a pod.
type ground struct {
	// reason is the pod's then; the name of a resource is added to "OutOf".
	reason string
	// says is what speaks against the pod; nothing if it may come. what is the resource's name.
	says func(*question) (what corev1.ResourceName, message string)
	// hearsay is that it rests on what the node was told of itself, which may be late.
	hearsay bool
}

// grounds are upstream's, in its order: of several the first is told. That the pod names another node cannot be: it is by that
// name that it comes here.
func grounds() []ground {
	return []ground{
		{reason: "SysctlForbidden", says: forbiddenSysctl},
		{reason: "PodOSSelectorNodeLabelDoesNotMatch", says: when(isLabelledForOtherSystem, "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")},
		{reason: "PodOSNotSupported", says: when(isOfOtherSystem, "Failed to admit pod as the OS field doesn't match node OS")},
		{reason: "SupplementalGroupsPolicyNotSupported", says: when(wantsStrictGroups, "SupplementalGroupsPolicy=Strict is not supported in this node")},
		{reason: "OutOf", says: shortOf},
		{reason: "NodeAffinity", says: when(isElsewhere, "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"), hearsay: true},
		{reason: "NodePorts", says: when(findsPortsTaken, "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")},
		{reason: "TaintToleration", says: when(isDrivenAway, "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"), hearsay: true},
	}
}

// refusal is the first ground on which a pod is refused; hearsay is whether the node should be asked for again before. nil if
// it may come.
func (q *question) refusal() (v *verdict, hearsay bool) {
	for _, g := range grounds() {
		if what, message := g.says(q); message != "" {
			return &verdict{reason: g.reason + string(what), message: message, refused: true}, g.hearsay
		}
	}
	return nil, false
}

// when is a ground with one message.
func when(holds func(*question) bool, message string) func(*question) (corev1.ResourceName, string) {
	return func(q *question) (corev1.ResourceName, string) {
		if !holds(q) {
			return "", ""
		}
		return "", message
	}
}

// shortOf is the first resource of which there is not enough. What the node knows nothing of does not count.
func shortOf(q *question) (corev1.ResourceName, string) {
	return shortage(q.capacity, q.used, loadOf(q.pod))
}

// shortage is the first resource of which there is not enough left for what is wanted, and what is to be said of it.
func shortage(capacity, used, wants load) (corev1.ResourceName, string) {
	first := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(wants)), func(n corev1.ResourceName) bool { return slices.Contains(first, n) })
	for _, name := range append(first, rest...) {
		if has, known := capacity[name]; known && wants[name] > 0 && used[name]+wants[name] > has {
			return name, fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, wants[name], used[name], has)
		}
	}
	return "", ""
}

// safeSysctls are those that touch nobody but the pod.
func safeSysctls() []string {
	return []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
}

func forbiddenSysctl(q *question) (_ corev1.ResourceName, message string) {
	spec := q.pod.Spec
	if spec.SecurityContext == nil {
		return "", ""
	}
	for _, s := range spec.SecurityContext.Sysctls {
		namespace, name, _ := sysctl.GetNamespace(s.Name)
		switch {
		case !slices.Contains(safeSysctls(), name):
			return "", fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		case namespace == sysctl.IPCNamespace && spec.HostIPC, namespace == sysctl.NetNamespace && spec.HostNetwork:
			return "", fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, namespace)
		}
	}
	return "", ""
}

// isLabelledForOtherSystem looks at the pod's own label.
func isLabelledForOtherSystem(q *question) bool {
	system, is := q.pod.Labels[corev1.LabelOSStable]
	return is && system != runtime.GOOS
}

func isOfOtherSystem(q *question) bool {
	return q.pod.Spec.OS != nil && string(q.pod.Spec.OS.Name) != runtime.GOOS
}

func wantsStrictGroups(q *question) bool {
	c := q.pod.Spec.SecurityContext
	return c != nil && ptr.Deref(c.SupplementalGroupsPolicy, "") == corev1.SupplementalGroupsPolicyStrict &&
		(q.features == nil || !ptr.Deref(q.features.SupplementalGroupsPolicy, false))
}

// isElsewhere is that the pod's node selector or required affinity is not of this node.
func isElsewhere(q *question) bool {
	here, err := nodeaffinity.GetRequiredNodeAffinity(q.pod).Match(q.node)
	return err != nil || !here
}

func findsPortsTaken(q *question) bool {
	for _, want := range hostPortsOf(q.pod) {
		for has := range q.taken {
			if has.port == want.port && has.protocol == want.protocol && (has.ip == want.ip || has.ip == everyIP || want.ip == everyIP) {
				return true
			}
		}
	}
	return false
}

// isDrivenAway is that a taint would have the pod evicted at once. Static pods are there whatever a taint says.
func isDrivenAway(q *question) bool {
	if q.static {
		return false
	}
	_, away := taints.FindMatchingUntoleratedTaint(klog.Background(), q.node.Spec.Taints, q.pod.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }, false)
	return away
}
