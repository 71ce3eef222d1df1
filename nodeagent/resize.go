package nodeagent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// Resources of a pod may change while it runs. What it had counts until its node has room for what it wants; until then the
// change is deferred, and asked for again whenever another pod leaves the node.

// grants are resources that a pod has been given, where they are others than its spec says.
type grants struct {
	pod        *corev1.ResourceRequirements
	containers map[string]corev1.ResourceRequirements
}

// resizing is a change of a pod's resources.
type resizing struct {
	granted *grants                                // of before, while the change is deferred; nil if the spec's are granted
	message string                                 // why it is deferred
	since   int64                                  // the generation that wants it
	waits   time.Time                              // since when it is deferred
	changed map[string]corev1.ResourceRequirements // of containers to which the change is still to be made, what they had
}

func grantsOf(p *corev1.Pod) *grants {
	g := &grants{pod: p.Spec.Resources, containers: map[string]corev1.ResourceRequirements{}}
	for role, c := range containers(p) {
		if role != ephemeralRole {
			g.containers[c.Name] = c.Resources
		}
	}
	return g
}

func (g *grants) same(as *grants) bool {
	return equality.Semantic.DeepEqual(g.pod, as.pod) && equality.Semantic.DeepEqual(g.containers, as.containers)
}

// in is a pod with the resources that it was granted.
func (g *grants) in(p *corev1.Pod) *corev1.Pod {
	if g == nil {
		return p
	}
	p = p.DeepCopy()
	p.Spec.Resources = g.pod
	for role, c := range containers(p) {
		if r, ok := g.containers[c.Name]; ok && role != ephemeralRole {
			c.Resources = r
		}
	}
	return p
}

// resize takes in that a pod's spec has changed. The desk is locked.
func (a *Agent) resize(w *work, before, now *corev1.Pod) {
	had := w.resizing.granted
	if had == nil {
		if had = grantsOf(before); had.same(grantsOf(now)) {
			return
		}
	}
	wants := loadOf(now)
	used := load{}
	for name, n := range a.desk.used[now.Spec.NodeName] {
		used[name] = n - w.counted[name]
	}
	if _, short := shortage(amounts(a.Capacity), used, wants); short != "" && !had.same(grantsOf(now)) {
		if w.resizing.granted == nil || w.resizing.since != now.Generation {
			a.podEvent(now, corev1.EventTypeWarning, "ResizeDeferred", "Pod resize Deferred: %s", resourceSummary(now, short))
		}
		if w.resizing.granted == nil {
			w.resizing.waits = a.Clock.Now()
		}
		w.resizing.granted, w.resizing.message, w.resizing.since = had, short, now.Generation
		return
	}
	w.resizing.granted, w.resizing.message = nil, ""
	for name, n := range wants {
		a.desk.used[now.Spec.NodeName][name] += n - w.counted[name]
	}
	w.counted = wants
	for name, r := range had.containers {
		if c := containerNamed(now, name); c != nil && !equality.Semantic.DeepEqual(r, c.Resources) {
			if w.resizing.changed == nil {
				w.resizing.changed = map[string]corev1.ResourceRequirements{}
			}
			w.resizing.changed[name] = r
		}
	}
	a.podEvent(now, corev1.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", resourceSummary(now, ""))
}

// retryResizes asks again for what was deferred on a node, since another pod has left or shrunk. The desk is locked.
func (a *Agent) retryResizes(node string) {
	var waiting []*work
	for _, w := range a.desk.pods {
		if w.resizing.granted != nil && w.pod.Spec.NodeName == node && w.counted != nil {
			waiting = append(waiting, w)
		}
	}
	slices.SortFunc(waiting, beforeInRoom)
	for _, w := range waiting {
		if a.resize(w, w.pod, w.pod); w.resizing.granted == nil {
			a.wake(a.life, w) // not the round of who has left
		}
	}
}

// beforeInRoom orders pods by who is given room first: who needs no more than before, the more important, those guaranteed what
// they ask for, and who has waited longer.
func beforeInRoom(a, b *work) int {
	return cmp.Or(compareBool(a.grows(), b.grows()), -cmp.Compare(ptr.Deref(a.pod.Spec.Priority, 0), ptr.Deref(b.pod.Spec.Priority, 0)),
		compareBool(b.isGuaranteed(), a.isGuaranteed()), a.resizing.waits.Compare(b.resizing.waits))
}

// compareBool has what does not hold come first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// grows reports that a pod wants more than it has.
func (w *work) grows() bool {
	wants := loadOf(w.pod)
	return wants[corev1.ResourceCPU] > w.counted[corev1.ResourceCPU] || wants[corev1.ResourceMemory] > w.counted[corev1.ResourceMemory]
}

func (w *work) isGuaranteed() bool { return w.pod.Status.QOSClass == corev1.PodQOSGuaranteed }

// applyResize makes a granted change to the containers that run: their runtime is told, or they are started again, as their
// resize policy says.
func (a *Agent) applyResize(ctx context.Context, w *work, s *situation) error {
	a.desk.mu.Lock()
	changed := w.resizing.changed
	w.resizing.changed = nil
	a.desk.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	for name, had := range changed {
		c, r := containerNamed(s.pod, name), s.seen.latest(name)
		switch {
		case c == nil || r == nil || r.state != runRunning:
		case restartsToResize(c, had):
			w.revive[r.id] = true
			a.stop(w, s.pod, stopping{*r, s.graceOf(c, ""), fmt.Sprintf("Container %s resize requires restart", name)})
		default:
			if err := a.Runtime.UpdateContainerResources(ctx, r.id, &cri.ContainerResources{Linux: linuxResources(c)}); err != nil {
				return fmt.Errorf("resize container %s: %w", name, err)
			}
		}
	}
	a.podEvent(s.pod, corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", resourceSummary(s.pod, ""))
	return nil
}

// restartsToResize reports whether a container has to be started again for its new resources.
func restartsToResize(c *corev1.Container, had corev1.ResourceRequirements) bool {
	return slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		same := func(a, b corev1.ResourceList) bool {
			x, y := a[p.ResourceName], b[p.ResourceName]
			return x.Cmp(y) == 0
		}
		return p.RestartPolicy == corev1.RestartContainer && !(same(c.Resources.Requests, had.Requests) && same(c.Resources.Limits, had.Limits))
	})
}

// linuxResources are a container's for its control group.
func linuxResources(c *corev1.Container) *cri.LinuxContainerResources {
	const period, leastQuota, sharesOfCPU, leastShares = 100000, 1000, 1024, 2
	r := &cri.LinuxContainerResources{CpuShares: max(c.Resources.Requests.Cpu().MilliValue()*sharesOfCPU/1000, leastShares)}
	if limit := c.Resources.Limits.Cpu().MilliValue(); limit > 0 {
		r.CpuPeriod, r.CpuQuota = period, max(limit*period/1000, leastQuota)
	}
	r.MemoryLimitInBytes = c.Resources.Limits.Memory().Value()
	return r
}

// resourceSummary is what a pod wants, as events tell it.
func resourceSummary(p *corev1.Pod, problem string) string {
	type part struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	}
	var all struct {
		InitContainers []part `json:"initContainers,omitempty"`
		Containers     []part `json:"containers,omitempty"`
		Generation     int64  `json:"generation"`
		Error          string `json:"error,omitempty"`
	}
	all.Generation, all.Error = p.Generation, problem
	for role, c := range containers(p) {
		switch role {
		case initRole, sidecarRole:
			all.InitContainers = append(all.InitContainers, part{c.Name, c.Resources})
		case regularRole:
			all.Containers = append(all.Containers, part{c.Name, c.Resources})
		}
	}
	text, err := json.Marshal(&all)
	if err != nil {
		return ""
	}
	return string(text)
}

// condition says that a change is deferred; false if none is.
func (r *resizing) condition(now metav1.Time) (corev1.PodCondition, bool) {
	if r.granted == nil {
		return corev1.PodCondition{}, false
	}
	return corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred, Message: r.message,
		ObservedGeneration: r.since, LastTransitionTime: now, LastProbeTime: now}, true
}
