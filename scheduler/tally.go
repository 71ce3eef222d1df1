package scheduler

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Spreading and affinity ask how many pods that a selector matches are on each node. Matching each pod for each question
// is what makes them slow elsewhere. Here
//
//   - pods that no selector can tell apart are of one class, so that a selector is matched once for a class;
//   - a tally is the answer to one question, kept up to date: a pod that comes or goes adds to the tallies of its class;
//   - a holding is the same the other way round: where the pods are that hold a term about others.

// class is pods of one namespace with the same labels.
type class struct {
	namespace string
	labels    labels.Set
	pods      int        // on nodes
	tallies   []*tally   // that count these pods
	held      []*holding // terms about these pods
}

// tally counts, for each node, the pods that all terms are about.
type tally struct {
	terms     []*term
	all, live []int32 // by the nodes' slots; live is without those that are terminating
	asked     int64   // the last cycle that asked
}

// holding counts pods that hold a term, by the number of their node's value of the topology key.
type holding struct {
	term *term
	strength
	where []int32
	pods  int
	by    *topology
}

// strength is how serious a term is.
type strength struct {
	forbids  bool  // a required anti-affinity
	requires bool  // a required affinity: nothing to those who come later but a matter of taste
	weight   int64 // of a preference; negative if the pods would rather be apart
}

// moved reports that a node's labels put it into other domains than before.
func (c *Cluster) moved(old, now *corev1.Node) bool {
	for key := range c.topologies {
		if differs(old.Labels, now.Labels, key) {
			return true
		}
	}
	return false
}

func differs(old, now map[string]string, key string) bool {
	before, had := old[key]
	after, has := now[key]
	return had != has || before != after
}

// topology numbers the values of a node label.
type topology struct {
	of      []int32 // by slot: the number of the node's value, or -1
	numbers map[string]int32
	nodes   []int32 // by number: how many nodes have the value; a number of none is free
}

// maxTallies bounds the questions that are kept; the one not asked for the longest time goes first.
const maxTallies = 256

// classOf is the pod's class.
func (c *Cluster) classOf(p *Pod) *class {
	if p.class != nil && p.class.pods > 0 { // a class without pods may have been forgotten
		return p.class
	}
	k := c.classes[p.labelKey]
	if k == nil {
		k = &class{namespace: p.Namespace, labels: p.Labels}
		for _, t := range c.tallies {
			if allMatch(t.terms, k, c.namespaces) {
				k.tallies = append(k.tallies, t)
			}
		}
		for _, h := range c.holdings {
			if h.term.matches(k, c.namespaces) {
				k.held = append(k.held, h)
			}
		}
		c.sweepClasses()
		c.classes[p.labelKey] = k
	}
	p.class = k
	return k
}

// sweepClasses forgets classes without pods when there are many of them.
func (c *Cluster) sweepClasses() {
	if len(c.classes) < 1024 || len(c.classes) < 2*len(c.pods) {
		return
	}
	for key, k := range c.classes {
		if k.pods == 0 {
			delete(c.classes, key)
		}
	}
}

// count is the tally of the pods that all terms are about.
func (c *Cluster) count(terms []*term) *tally {
	keys := make([]string, len(terms))
	for i, t := range terms {
		keys[i] = t.key
	}
	key := strings.Join(keys, "&")
	t := c.tallies[key]
	if t == nil {
		c.sweepTallies()
		t = &tally{terms: terms, all: make([]int32, len(c.slots)), live: make([]int32, len(c.slots))}
		c.tallies[key] = t
		c.fill(t)
	}
	t.asked = c.cycle
	return t
}

// fill counts the pods that are there.
func (c *Cluster) fill(t *tally) {
	clear(t.all)
	clear(t.live)
	for _, k := range c.classes {
		if allMatch(t.terms, k, c.namespaces) {
			k.tallies = append(k.tallies, t)
		}
	}
	for _, n := range c.slots {
		if n == nil {
			continue
		}
		for _, p := range n.Pods {
			if slices.Contains(p.class.tallies, t) {
				t.add(n.slot, p, 1)
			}
		}
	}
}

func (t *tally) add(slot int32, p *Pod, sign int32) {
	t.all[slot] += sign
	if !p.terminating() {
		t.live[slot] += sign
	}
}

func (c *Cluster) sweepTallies() {
	if len(c.tallies) < maxTallies {
		return
	}
	oldest := ""
	for key, t := range c.tallies {
		if oldest == "" || t.asked < c.tallies[oldest].asked {
			oldest = key
		}
	}
	gone := c.tallies[oldest]
	delete(c.tallies, oldest)
	for _, k := range c.classes {
		k.tallies = slices.DeleteFunc(k.tallies, func(t *tally) bool { return t == gone })
	}
}

// tallyPod counts a pod that comes to a node or leaves it.
func (c *Cluster) tallyPod(n *Node, p *Pod, sign int32) {
	k := c.classOf(p)
	k.pods += int(sign)
	for _, t := range k.tallies {
		t.add(n.slot, p, sign)
	}
	if sign > 0 {
		p.held = c.hold(p)
	}
	for _, h := range p.held {
		h.pods += int(sign)
		if value := h.by.of[n.slot]; value >= 0 {
			if missing := len(h.by.nodes) - len(h.where); missing > 0 {
				h.where = append(h.where, make([]int32, missing)...)
			}
			h.where[value] += sign
		}
		if h.pods == 0 {
			c.release(h)
		}
	}
	if sign < 0 {
		p.held = nil
	}
}

// hold finds what a pod's terms are counted in.
func (c *Cluster) hold(p *Pod) []*holding {
	if p.Affinity == nil {
		return nil
	}
	var held []*holding
	for _, t := range p.Affinity.requiredAnti {
		held = append(held, c.holdingOf(t, strength{forbids: true}))
	}
	for _, t := range p.Affinity.required {
		held = append(held, c.holdingOf(t, strength{requires: true}))
	}
	for _, t := range p.Affinity.preferred {
		held = append(held, c.holdingOf(t, strength{weight: t.weight}))
	}
	for _, t := range p.Affinity.preferredAnti {
		held = append(held, c.holdingOf(t, strength{weight: -t.weight}))
	}
	return held
}

func holdingKey(t *term, s strength) string {
	return t.topologyKey + "|" + strconv.FormatBool(s.forbids) + strconv.FormatBool(s.requires) + strconv.FormatInt(s.weight, 10) + "|" + t.key
}

func (c *Cluster) holdingOf(t *term, s strength) *holding {
	key := holdingKey(t, s)
	h := c.holdings[key]
	if h == nil {
		h = &holding{term: t, strength: s, by: c.topology(t.topologyKey)}
		c.holdings[key] = h
		for _, k := range c.classes {
			if t.matches(k, c.namespaces) {
				k.held = append(k.held, h)
			}
		}
	}
	return h
}

// release forgets a holding without pods.
func (c *Cluster) release(h *holding) {
	key := holdingKey(h.term, h.strength)
	if c.holdings[key] != h {
		return
	}
	delete(c.holdings, key)
	for _, k := range c.classes {
		k.held = slices.DeleteFunc(k.held, func(o *holding) bool { return o == h })
	}
}

// topology numbers the values of a label, once somebody asks for it.
func (c *Cluster) topology(key string) *topology {
	t := c.topologies[key]
	if t == nil {
		t = &topology{of: make([]int32, len(c.slots)), numbers: map[string]int32{}}
		c.topologies[key] = t
		for slot, n := range c.slots {
			t.of[slot] = -1
			if n != nil && n.Node != nil {
				t.join(n.slot, n.Node, key)
			}
		}
	}
	return t
}

func (t *topology) join(slot int32, node *corev1.Node, key string) {
	value, ok := node.Labels[key]
	if !ok {
		return
	}
	number, ok := t.numbers[value]
	if !ok {
		number = int32(slices.Index(t.nodes, 0))
		if number < 0 {
			number = int32(len(t.nodes))
			t.nodes = append(t.nodes, 0)
		}
		t.numbers[value] = number
	}
	t.nodes[number]++
	t.of[slot] = number
}

func (t *topology) leave(slot int32, node *corev1.Node, key string) {
	number := t.of[slot]
	if number < 0 {
		return
	}
	t.of[slot] = -1
	if t.nodes[number]--; t.nodes[number] == 0 {
		delete(t.numbers, node.Labels[key])
	}
}

// setNamespace takes over a namespace's labels. Terms that select namespaces have to be matched again.
func (c *Cluster) setNamespace(name string, set labels.Set) {
	if old, ok := c.namespaces[name]; ok && labels.Equals(old, set) {
		return
	}
	c.namespaces[name] = set
	for key, k := range c.classes {
		if k.namespace != name {
			continue
		}
		k.held = nil
		for _, h := range c.holdings {
			if h.term.matches(k, c.namespaces) {
				k.held = append(k.held, h)
			}
		}
		c.classes[key] = k
	}
	for key, t := range c.tallies {
		if !slices.ContainsFunc(t.terms, (*term).choosesNamespaces) {
			continue
		}
		delete(c.tallies, key)
		for _, k := range c.classes {
			k.tallies = slices.DeleteFunc(k.tallies, func(o *tally) bool { return o == t })
		}
	}
}
