package nodeagent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// A pod that the scheduler did not put here, or put here without knowing all, is refused if it does not fit: what runs
// already comes first.

// load is what pods request of a node, CPU in thousandths.
type load map[corev1.ResourceName]int64

func loadOf(p *corev1.Pod) load {
	l := amounts(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}))
	l[corev1.ResourcePods] = 1
	return l
}

func amounts(of corev1.ResourceList) load {
	l := load{}
	for name, q := range of {
		if l[name] = q.Value(); name == corev1.ResourceCPU {
			l[name] = q.MilliValue()
		}
	}
	return l
}

// refusal says why a pod does not fit beside what is there; nil if it does. Resources of which the node knows nothing do not
// count.
func refusal(capacity, used, wants load) *verdict {
	first := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(wants)), func(n corev1.ResourceName) bool { return slices.Contains(first, n) })
	for _, name := range append(first, rest...) {
		has, known := capacity[name]
		if !known || wants[name] == 0 || used[name]+wants[name] <= has {
			continue
		}
		return &verdict{reason: "OutOf" + string(name), refused: true, message: fmt.Sprintf(
			"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, wants[name], used[name], has)}
	}
	return nil
}

// hostPort is a port of the node that a container takes.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// everyIP stands for all addresses of the node.
const everyIP = "0.0.0.0"

// hostPortsOf are those that a pod takes as long as it runs.
func hostPortsOf(p *corev1.Pod) (ports []hostPort) {
	for role, c := range containers(p) {
		if role != sidecarRole && role != regularRole {
			continue
		}
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, hostPort{cmp.Or(port.HostIP, everyIP), cmp.Or(port.Protocol, corev1.ProtocolTCP), port.HostPort})
			}
		}
	}
	return ports
}

// portRefusal says that ports which a pod wants are taken; nil if none is.
func portRefusal(taken map[hostPort]bool, wants []hostPort) *verdict {
	for _, want := range wants {
		for has := range taken {
			if has.port == want.port && has.protocol == want.protocol && (has.ip == want.ip || has.ip == everyIP || want.ip == everyIP) {
				return &verdict{reason: "NodePorts", refused: true, message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
			}
		}
	}
	return nil
}

// admit counts a pod among those of its node, or refuses it. One that was started before is not asked again. The desk is
// locked.
func (a *Agent) admit(w *work, pod *corev1.Pod) {
	used := a.desk.used[pod.Spec.NodeName]
	if used == nil {
		used = load{}
		a.desk.used[pod.Spec.NodeName] = used
	}
	taken := a.desk.ports[pod.Spec.NodeName]
	wants, ports := loadOf(pod), hostPortsOf(pod)
	if pod.Status.StartTime == nil && pod.DeletionTimestamp == nil {
		w.verdict = cmp.Or(refusal(amounts(a.Capacity), used, wants), portRefusal(taken, ports))
		if w.verdict != nil {
			a.podEvent(pod, corev1.EventTypeWarning, w.verdict.reason, "%s", w.verdict.message)
			return
		}
	}
	if taken == nil && len(ports) > 0 {
		taken = map[hostPort]bool{}
		a.desk.ports[pod.Spec.NodeName] = taken
	}
	for _, port := range ports {
		taken[port] = true
	}
	w.counted, w.ports = wants, ports
	for name, n := range wants {
		used[name] += n
	}
}

// vacate is leave, before the API is told that the pod is over: at that moment the scheduler may send another in its place.
func (a *Agent) vacate(w *work) {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	a.leave(w)
}

// leave gives back what a pod has requested. The desk is locked.
func (a *Agent) leave(w *work) {
	if w.counted == nil {
		return
	}
	for name, n := range w.counted {
		a.desk.used[w.pod.Spec.NodeName][name] -= n
	}
	for _, port := range w.ports {
		delete(a.desk.ports[w.pod.Spec.NodeName], port)
	}
	w.counted, w.ports = nil, nil
	a.retryResizes(w.pod.Spec.NodeName)
}
