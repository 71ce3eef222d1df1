package nodeagent

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// A pod that the scheduler did not put here, or put here without knowing all, is refused if it does not belong here or does not
// fit (grounds.go): what runs already comes first.

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

// admit counts a pod among those of its node, or refuses it. One that was started before is not asked again. What speaks
// against a pod may be that the node has not heard yet of its own labels and taints, which the scheduler knew: then it asks for
// itself before the pod's first round (see reconsider). The desk is locked.
func (a *Agent) admit(w *work, pod *corev1.Pod, known *corev1.Node) {
	node := pod.Spec.NodeName
	w.doubted = false
	if pod.Status.StartTime == nil && pod.DeletionTimestamp == nil {
		q := &question{pod: pod, static: w.static, node: cmp.Or(known, a.knownNode(node)), features: a.machine.features, capacity: amounts(a.Capacity),
			used: a.desk.used[node], taken: a.desk.ports[node]}
		refused, hearsay := q.refusal()
		switch {
		case refused != nil && hearsay && known == nil:
			w.doubted = true
			return
		case refused != nil:
			w.verdict = refused
			a.podEvent(pod, corev1.EventTypeWarning, w.verdict.reason, "%s", w.verdict.message)
			return
		}
	}
	a.occupy(w, pod)
}

// occupy gives a pod what it requests. The desk is locked.
func (a *Agent) occupy(w *work, pod *corev1.Pod) {
	node := pod.Spec.NodeName
	w.counted, w.ports = loadOf(pod), hostPortsOf(pod)
	if a.desk.used[node] == nil {
		a.desk.used[node] = load{}
	}
	if a.desk.ports[node] == nil && len(w.ports) > 0 {
		a.desk.ports[node] = map[hostPort]bool{}
	}
	for _, port := range w.ports {
		a.desk.ports[node][port] = true
	}
	for name, n := range w.counted {
		a.desk.used[node][name] += n
	}
}

// knownNode is a node as it was heard of last, or as it is registered.
func (a *Agent) knownNode(name string) *corev1.Node {
	if nodes := a.nodes.Load(); nodes != nil {
		if o, there, _ := (*nodes).GetByKey(name); there { // a store has no errors
			return o.(*corev1.Node)
		}
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: nodeLabels(name)}}
}

// reconsider asks the API for the node before a pod is refused for what was heard of it.
func (a *Agent) reconsider(ctx context.Context, w *work, pod *corev1.Pod) error {
	a.desk.mu.Lock()
	doubted := w.doubted
	a.desk.mu.Unlock()
	if !doubted {
		return nil
	}
	node, err := a.Client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("node %s: %w", pod.Spec.NodeName, err)
		}
		node = a.knownNode(pod.Spec.NodeName)
	}
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	a.admit(w, pod, node)
	return nil
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
