package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// world is a random cluster, and what a naive reader knows of it.
type world struct {
	*stand
	r      *rand.Rand
	placed map[types.UID]*corev1.Pod
	next   int
}

func newWorld(seed uint64) *world {
	w := &world{stand: newStand(), r: rand.New(rand.NewPCG(seed, seed)), placed: map[types.UID]*corev1.Pod{}}
	for i := range 3 + w.r.IntN(9) {
		var options []func(*corev1.Node)
		if w.r.IntN(5) > 0 {
			options = append(options, zone(fmt.Sprint("z", w.r.IntN(3))))
		}
		if w.r.IntN(6) == 0 {
			options = append(options, taint("k", corev1.TaintEffectNoSchedule))
		}
		w.cluster.setNode(nodeOf(fmt.Sprint("n", i), append(options, allocatable(fmt.Sprint("cpu=", 1+w.r.IntN(6)), "memory=8Gi", "pods=6"))...))
	}
	return w
}

func (w *world) pod() *corev1.Pod {
	w.next++
	options := []func(*corev1.Pod){requests(fmt.Sprintf("cpu=%dm", 100*(1+w.r.IntN(15)))), labeled("app", string(rune('a'+w.r.IntN(3))))}
	key := []string{zoneKey, hostname}[w.r.IntN(2)]
	other := podTerm(key, string(rune('a'+w.r.IntN(3))))
	switch w.r.IntN(6) {
	case 0:
		options = append(options, spread(key, 1+w.r.Int32N(2), corev1.DoNotSchedule))
	case 1:
		options = append(options, apart(other))
	case 2:
		options = append(options, near(other))
	case 3:
		options = append(options, preferNear(1+w.r.Int32N(100), other))
	}
	if w.r.IntN(8) == 0 {
		options = append(options, terminating)
	}
	return podOf(fmt.Sprint("p", w.next), options...)
}

// fits is the naive answer: everything is counted anew.
func (w *world) fits(p *corev1.Pod, n *Node) bool {
	if len(n.hard) > 0 || len(w.on(n.name)) >= int(n.MaxPods) || w.used(n.name)+p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() > n.Allocatable.CPU {
		return false
	}
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		for _, t := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if _, ok := n.Labels[t.TopologyKey]; !ok || w.matching(&t, n) == 0 && !(w.matching(&t, nil) == 0 && matches(&t, p)) {
				return false
			}
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, t := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if w.matching(&t, n) > 0 {
				return false
			}
		}
	}
	for _, o := range w.placed {
		if a := o.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
			for _, t := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				if matches(&t, p) && sameDomain(w.cluster.nodes[o.Spec.NodeName], n, t.TopologyKey) {
					return false
				}
			}
		}
	}
	for _, t := range p.Spec.TopologySpreadConstraints {
		if !w.skewKept(p, n, &t) {
			return false
		}
	}
	return true
}

func (w *world) on(node string) (pods []*corev1.Pod) {
	for _, p := range w.placed {
		if p.Spec.NodeName == node {
			pods = append(pods, p)
		}
	}
	return pods
}

func (w *world) used(node string) (cpu int64) {
	for _, p := range w.on(node) {
		cpu += p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
	}
	return cpu
}

func matches(t *corev1.PodAffinityTerm, p *corev1.Pod) bool {
	return selectorOf(t.LabelSelector).Matches(labels.Set(p.Labels))
}

func sameDomain(a, b *Node, key string) bool {
	x, ok := a.Labels[key]
	y, has := b.Labels[key]
	return ok && has && x == y
}

// matching counts the pods of a term in the node's domain, or in any if there is no node.
func (w *world) matching(t *corev1.PodAffinityTerm, n *Node) (pods int) {
	for _, o := range w.placed {
		at := w.cluster.nodes[o.Spec.NodeName]
		if _, ok := at.Labels[t.TopologyKey]; ok && matches(t, o) && (n == nil || sameDomain(at, n, t.TopologyKey)) {
			pods++
		}
	}
	return pods
}

func (w *world) skewKept(p *corev1.Pod, n *Node, t *corev1.TopologySpreadConstraint) bool {
	counts := map[string]int{}
	for _, o := range w.cluster.known() {
		value, ok := o.Labels[t.TopologyKey]
		if !ok {
			continue
		}
		counts[value] += 0
		for _, q := range w.on(o.name) {
			if q.DeletionTimestamp == nil && selectorOf(t.LabelSelector).Matches(labels.Set(q.Labels)) {
				counts[value]++
			}
		}
	}
	value, ok := n.Labels[t.TopologyKey]
	if !ok {
		return false
	}
	least := counts[value]
	for _, c := range counts {
		least = min(least, c)
	}
	self := 0
	if selectorOf(t.LabelSelector).Matches(labels.Set(p.Labels)) {
		self = 1
	}
	return counts[value]+self-least <= int(t.MaxSkew)
}

// TestFastAnswersAreTheNaiveOnes: for random pods on random clusters that change, each node is judged as by counting
// everything anew, with pods more or less in thought as well; and no node is ever given more than it has.
func TestFastAnswersAreTheNaiveOnes(t *testing.T) {
	for seed := range uint64(150) {
		w := newWorld(seed)
		for range 60 {
			w.turn(t)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func (w *world) turn(t *testing.T) {
	switch w.r.IntN(10) {
	case 0, 1: // a pod goes
		for uid := range w.placed {
			w.cluster.removePod(uid)
			delete(w.placed, uid)
			break
		}
	case 2: // a node gets another zone
		n := w.cluster.known()[w.r.IntN(len(w.cluster.known()))].Node.DeepCopy()
		n.Labels[zoneKey] = fmt.Sprint("z", w.r.IntN(3))
		w.cluster.setNode(n)
	default:
		w.schedule(t, w.pod())
	}
}

func (w *world) schedule(t *testing.T, p *corev1.Pod) {
	c := w.cycle(p)
	chosen, _ := c.decide()
	for _, n := range w.cluster.known() {
		if fast, naive := c.judge(n) == nil, w.fits(p, n); fast != naive {
			t.Errorf("%s on %s: %v, naively %v", p.Name, n.name, fast, naive)
		}
		w.think(t, c, p, n)
	}
	if chosen != nil {
		placed := c.Pod.on(chosen.name)
		w.cluster.assume(placed)
		w.placed[p.UID] = placed.Pod
	}
	for _, n := range w.cluster.known() {
		if n.Requested.CPU != w.used(n.name) || n.Requested.CPU > n.Allocatable.CPU || len(n.Pods) > int(n.MaxPods) {
			t.Errorf("%s has %d of %d millicores and %d pods", n.name, n.Requested.CPU, n.Allocatable.CPU, len(n.Pods))
		}
	}
}

// think takes a pod away from a node in thought, and puts it back.
func (w *world) think(t *testing.T, c *Cycle, p *corev1.Pod, n *Node) {
	there := w.on(n.name)
	if len(there) == 0 {
		return
	}
	o := there[0]
	thought := c.whatIf(n)
	thought.remove(w.cluster.pods[o.UID])
	fast := thought.judge() == nil
	thought.undo()
	delete(w.placed, o.UID)
	naive := w.fits(p, n)
	w.placed[o.UID] = o
	if fast != naive {
		t.Errorf("%s on %s without %s: %v, naively %v", p.Name, n.name, o.Name, fast, naive)
	}
}
