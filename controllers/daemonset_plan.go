package controllers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// daemonView is a DaemonSet with its pods, by the nodes that they are on or are made for, at one moment.
type daemonView struct {
	ds    *appsv1.DaemonSet
	hash  string // of the revision that is wanted
	nodes []*corev1.Node
	fits  map[string]daemonFit
	pods  map[string][]*corev1.Pod // the oldest of a node first
	// held is how long a failed pod has to stay, so that it does not fail again at once.
	held func(node string) time.Duration
	now  time.Time
}

// daemonPlan is what is to be done.
type daemonPlan struct {
	create []string // nodes that get a pod
	remove []*corev1.Pod
	failed []string // nodes whose pod is removed since it failed
	tell   []told
	again  time.Duration
}

func viewDaemons(ds *appsv1.DaemonSet, hash string, nodes []*corev1.Node, pods []*corev1.Pod, now time.Time) *daemonView {
	v := &daemonView{ds: ds, hash: hash, nodes: slices.Clone(nodes), fits: map[string]daemonFit{}, pods: map[string][]*corev1.Pod{}, now: now,
		held: func(string) time.Duration { return 0 }}
	slices.SortFunc(v.nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range v.nodes {
		v.fits[n.Name] = fitOf(ds, n)
	}
	for _, p := range pods {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if node := targetOf(p); node != "" && !(ended && p.DeletionTimestamp != nil) {
			v.pods[node] = append(v.pods[node], p)
		}
	}
	for _, here := range v.pods {
		slices.SortFunc(here, func(a, b *corev1.Pod) int {
			return cmp.Or(compareBools(a.Spec.NodeName == "", b.Spec.NodeName == ""), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
	}
	return v
}

// plan brings each node to have the pod that it is to have. Only when that is so an update goes on.
func (v *daemonView) plan() daemonPlan {
	var p daemonPlan
	for _, n := range v.nodes {
		v.planNode(&p, n.Name)
	}
	// Pods for nodes that are gone before they were bound will never be.
	for _, node := range slices.Sorted(maps.Keys(v.pods)) {
		if _, there := v.fits[node]; !there {
			p.remove = append(p.remove, slices.DeleteFunc(slices.Clone(v.pods[node]), func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })...)
		}
	}
	if len(p.create)+len(p.remove) > 0 || v.ds.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return p
	}
	unavailable, surge := v.limits()
	if surge == 0 {
		v.replace(&p, unavailable)
	} else {
		v.surge(&p, surge)
	}
	return p
}

func (v *daemonView) planNode(p *daemonPlan, node string) {
	fit, here := v.fits[node], v.pods[node]
	switch {
	case fit.run && len(here) == 0:
		p.create = append(p.create, node)
	case fit.keep:
		running := v.running(p, node)
		switch {
		case !v.surges():
			p.remove = append(p.remove, running[min(1, len(running)):]...)
		case len(running) == 0 && fit.run:
			p.create = append(p.create, node) // beside one that is going
		default:
			p.remove = append(p.remove, v.excess(running)...)
		}
	default:
		for _, pod := range here {
			if pod.DeletionTimestamp == nil {
				p.remove = append(p.remove, pod)
			}
		}
	}
}

// running are the pods of a node that have not ended. Those that have are removed.
func (v *daemonView) running(p *daemonPlan, node string) (running []*corev1.Pod) {
	for _, pod := range v.pods[node] {
		switch {
		case pod.DeletionTimestamp != nil:
		case pod.Status.Phase == corev1.PodFailed:
			if wait := v.held(node); wait > 0 {
				if p.again == 0 || wait < p.again {
					p.again = wait
				}
				continue
			}
			p.remove, p.failed = append(p.remove, pod), append(p.failed, node)
			p.tell = append(p.tell, told{corev1.EventTypeWarning, "FailedDaemonPod",
				fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, node)})
		case pod.Status.Phase == corev1.PodSucceeded:
			p.remove = append(p.remove, pod)
			p.tell = append(p.tell, told{corev1.EventTypeNormal, "SucceededDaemonPod",
				fmt.Sprintf("Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, node)})
		default:
			running = append(running, pod)
		}
	}
	return running
}

// excess are the pods of a node that are too many while an update surges: two may be there, a new one that is not available
// yet and an old one that is ready.
func (v *daemonView) excess(running []*corev1.Pod) (remove []*corev1.Pod) {
	if len(running) < 2 {
		return nil
	}
	var fresh, old *corev1.Pod
	for _, p := range running {
		switch isNew := p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == v.hash; {
		case isNew && fresh == nil:
			fresh = p
		case !isNew && old == nil:
			old = p
		default:
			remove = append(remove, p)
		}
	}
	if fresh != nil && old != nil && (!isReady(old) || v.available(fresh)) {
		remove = append(remove, old)
	}
	return remove
}

// limits are how many nodes may be without an available pod during an update, and how many may have two. One of them is
// never zero.
func (v *daemonView) limits() (unavailable, surge int) {
	n := 0
	for _, fit := range v.fits {
		if fit.run {
			n++
		}
	}
	if r := v.ds.Spec.UpdateStrategy.RollingUpdate; r != nil {
		unavailable, surge = scaledUp(r.MaxUnavailable, n), scaledUp(r.MaxSurge, n)
	}
	if n > 0 && unavailable == 0 && surge == 0 {
		unavailable = 1
	}
	return unavailable, surge
}

// scaledUp is a number, or a share of n. Validation lets nothing else through.
func scaledUp(of *intstr.IntOrString, n int) int {
	if of == nil {
		return 0
	}
	scaled, err := intstr.GetScaledValueFromIntOrPercent(of, n, true)
	if err != nil {
		return 0
	}
	return scaled
}

func (v *daemonView) surges() bool {
	r := v.ds.Spec.UpdateStrategy.RollingUpdate
	return v.ds.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType && r != nil && scaledUp(r.MaxSurge, 1) > 0
}

// places are the nodes that have pods or should.
func (v *daemonView) places() []string {
	set := map[string]bool{}
	for node, fit := range v.fits {
		if fit.run {
			set[node] = true
		}
	}
	for node := range v.pods {
		set[node] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// pair are the new and the old pod of a node. It is not ok if there are several of either.
func (v *daemonView) pair(node string) (fresh, old *corev1.Pod, ok bool) {
	for _, p := range v.pods[node] {
		if p.DeletionTimestamp != nil {
			continue
		}
		which := &old
		if v.upToDate(p) {
			which = &fresh
		}
		if *which != nil {
			return nil, nil, false
		}
		*which = p
	}
	return fresh, old, true
}

func (v *daemonView) upToDate(p *corev1.Pod) bool {
	generation := templateGeneration(v.ds)
	return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == v.hash || generation != "" && p.Labels[templateGenerationLabel] == generation
}

func (v *daemonView) available(p *corev1.Pod) bool {
	rest, ready := availableIn(p, v.ds.Spec.MinReadySeconds, v.now)
	return ready && rest == 0
}

// replace removes old pods: all that are not available anyway, and others as long as no more than limit nodes are without
// one that is.
func (v *daemonView) replace(p *daemonPlan, limit int) {
	var candidates []*corev1.Pod
	without := 0
	for _, node := range v.places() {
		fresh, old, ok := v.pair(node)
		switch {
		case !ok, (fresh == nil) == (old == nil), fresh != nil && !v.available(fresh):
			without++
		case fresh != nil:
		case !v.available(old):
			p.remove = append(p.remove, old)
			without++
		default:
			candidates = append(candidates, old)
		}
	}
	p.remove = append(p.remove, candidates[:min(len(candidates), max(0, limit-without))]...)
}

// surge creates new pods beside old ones: wherever the old one is not available, and on limit other nodes. The old ones go
// when the new are available. Those on nodes that should have none go last, when there are enough others.
func (v *daemonView) surge(p *daemonPlan, limit int) {
	var candidates []string
	var misplaced []*corev1.Pod
	surging, available, wanted := 0, 0, 0
	for _, fit := range v.fits {
		if fit.run {
			wanted++
		}
	}
	for _, node := range v.places() {
		fresh, old, ok := v.pair(node)
		if !ok {
			surging++
			continue
		}
		if one := cmp.Or(old, fresh); one != nil && v.available(one) {
			available++
		}
		switch {
		case old == nil:
		case fresh != nil && v.available(fresh):
			p.remove = append(p.remove, old)
		case fresh != nil:
			surging++
		case !v.fits[node].run && v.available(old):
			misplaced = append(misplaced, old)
		case !v.fits[node].run:
			p.remove = append(p.remove, old)
		case v.available(old):
			candidates = append(candidates, node)
		default:
			p.create = append(p.create, node)
		}
	}
	p.remove = append(p.remove, misplaced[:min(len(misplaced), max(0, available-wanted))]...)
	p.create = append(p.create, candidates[:min(len(candidates), max(0, limit-surging))]...)
}

// status is what the pods amount to, and how long it takes until one of them has been ready for long enough; zero is never.
func (v *daemonView) status() (s appsv1.DaemonSetStatus, next time.Duration) {
	s = *v.ds.Status.DeepCopy()
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled, s.NumberReady = 0, 0, 0, 0
	s.UpdatedNumberScheduled, s.NumberAvailable, s.ObservedGeneration = 0, 0, v.ds.Generation
	for _, n := range v.nodes {
		here := v.pods[n.Name]
		switch {
		case !v.fits[n.Name].run:
			if len(here) > 0 {
				s.NumberMisscheduled++
			}
			continue
		case len(here) == 0:
			s.DesiredNumberScheduled++
			continue
		}
		s.DesiredNumberScheduled++
		s.CurrentNumberScheduled++
		if v.upToDate(here[0]) {
			s.UpdatedNumberScheduled++
		}
		rest, ready := availableIn(here[0], v.ds.Spec.MinReadySeconds, v.now)
		switch {
		case !ready:
			continue
		case rest == 0:
			s.NumberAvailable++
		case next == 0 || rest < next:
			next = rest
		}
		s.NumberReady++
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s, next
}
