package scheduler

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// String is the term as people speak of it.
func (t *term) String() string {
	text := t.selector.String()
	if t.selector.Empty() {
		text = "any"
	}
	return "pods " + text + " by " + t.topologyKey
}

// meets are the pods in a node's domain that a term is about.
func (c *Cycle) meets(t *term, n *Node) (pods []*Pod) {
	by := c.topology(t.topologyKey)
	value := by.of[n.slot]
	for _, o := range c.known() {
		if value < 0 || by.of[o.slot] != value {
			continue
		}
		for _, p := range o.Pods {
			if t.matches(c.classOf(p), c.namespaces) {
				pods = append(pods, p)
			}
		}
	}
	return pods
}

// unwelcoming are the pods in a node's domains that do not want the cycle's pod near, and one of the terms by which they say so.
func (c *Cycle) unwelcoming(n *Node) (pods []*Pod, by *term) {
	for _, o := range c.known() {
		for _, p := range o.Pods {
			if p.Affinity == nil {
				continue
			}
			for _, t := range p.Affinity.requiredAnti {
				of := c.topology(t.topologyKey).of
				if value := of[n.slot]; value >= 0 && of[o.slot] == value && t.matches(c.Pod.class, c.namespaces) {
					pods, by = append(pods, p), t
					break
				}
			}
		}
	}
	return pods, by
}

// Facts are the terms that are not met, with the number of pods in the node's domain.
func (*interPodAffinity) Facts(_ *Cycle, judge Judge, n *Node) (facts []Fact) {
	j, ok := judge.(*affinityJudge)
	if !ok {
		return nil
	}
	domain := func(key string) string { return key + "=" + n.Labels[key] }
	if !j.hasCompany(n) {
		for i, s := range j.near {
			t := j.terms.required[i]
			if pods, ok := s.at(n); !ok {
				facts = append(facts, Fact{Text: "there is no label " + t.topologyKey, Term: t.String(), TopologyKey: t.topologyKey})
			} else if pods == 0 {
				facts = append(facts, Fact{Text: fmt.Sprintf("%s has no %s", domain(t.topologyKey), t), Term: t.String(), TopologyKey: t.topologyKey, Domain: n.Labels[t.topologyKey], Pods: &pods})
			}
		}
		return facts
	}
	for i, s := range j.apart {
		t := j.terms.requiredAnti[i]
		if pods, _ := s.at(n); pods > 0 {
			facts = append(facts, Fact{Text: fmt.Sprintf("%s has %d of the %s to stay apart from", domain(t.topologyKey), pods, t), Term: t.String(), TopologyKey: t.topologyKey, Domain: n.Labels[t.topologyKey], Pods: &pods, shortage: float64(pods)})
		}
	}
	if len(facts) > 0 {
		return facts
	}
	for _, s := range j.forbidden {
		if pods, _ := s.at(n); pods > 0 {
			key := j.cycle.keyOf(s.by)
			facts = append(facts, Fact{Text: fmt.Sprintf("%s has %s that want this one to stay away", domain(key), counted(int(pods), "pod")), TopologyKey: key, Domain: n.Labels[key], Pods: &pods, shortage: float64(pods)})
		}
	}
	slices.SortFunc(facts, func(a, b Fact) int { return strings.Compare(a.Text, b.Text) })
	return facts
}

// keyOf is the label that a topology is about.
func (c *Cluster) keyOf(t *topology) string {
	for key, o := range c.topologies {
		if o == t {
			return key
		}
	}
	return ""
}

// Changes are that company comes, or that those who are in the way go, or that the pod asks for less.
func (*interPodAffinity) Changes(c *Cycle, judge Judge, n *Node) []Change {
	j := judge.(*affinityJudge)
	if !j.hasCompany(n) {
		return j.inviting(c, n)
	}
	var changes []Change
	var there []*Pod
	var gone []*term
	for i, s := range j.apart {
		if pods, _ := s.at(n); pods > 0 {
			t := j.terms.requiredAnti[i]
			gone = append(gone, t)
			for _, p := range c.meets(t, n) {
				if !slices.Contains(there, p) {
					there = append(there, p)
				}
			}
		}
	}
	if len(gone) > 0 {
		changes = freeing(n, "the neighbourhood", there)
		return append(changes, Change{Text: "drop the required anti-affinity to " + termTexts(gone), Kind: "anti-affinity", Cost: 50, Pod: func(p *corev1.Pod) {
			a := p.Spec.Affinity.PodAntiAffinity
			a.RequiredDuringSchedulingIgnoredDuringExecution = withoutTerms(p, a.RequiredDuringSchedulingIgnoredDuringExecution, gone)
		}})
	}
	there, _ = c.unwelcoming(n)
	return freeing(n, "the neighbourhood", there)
}

func termTexts(terms []*term) string {
	var texts []string
	for _, t := range terms {
		texts = append(texts, t.String())
	}
	return strings.Join(texts, " and ")
}

func withoutTerms(p *corev1.Pod, list []corev1.PodAffinityTerm, gone []*term) (left []corev1.PodAffinityTerm) {
	for i := range list {
		t := newTerm(p, &list[i], 0)
		if !slices.ContainsFunc(gone, func(g *term) bool { return g.key == t.key && g.topologyKey == t.topologyKey }) {
			left = append(left, list[i])
		}
	}
	return left
}

// inviting is what may bring a pod the neighbours that it requires.
func (j *affinityJudge) inviting(c *Cycle, n *Node) (changes []Change) {
	var lacking []*term
	label := map[string]string{}
	for i, s := range j.near {
		t := j.terms.required[i]
		pods, ok := s.at(n)
		if !ok {
			for value, number := range s.by.numbers {
				if s.pods[number] > 0 && (label[t.topologyKey] == "" || value < label[t.topologyKey]) {
					label[t.topologyKey] = value
				}
			}
		}
		if pods == 0 {
			lacking = append(lacking, t)
		}
	}
	if len(label) > 0 {
		changes = append(changes, labeling(n, 25, label))
	}
	if come := companion(j.terms.required, c.Pod); come != nil && len(lacking) > 0 {
		changes = append(changes, Change{Text: fmt.Sprintf("run a pod with labels %s on %s, or near", labels.Set(come.Labels), n.name), Kind: "company", Cost: 35, Come: come})
	}
	return append(changes, Change{Text: "drop the required affinity to " + termTexts(lacking), Kind: "pod-affinity", Cost: 50, Pod: func(p *corev1.Pod) {
		a := p.Spec.Affinity.PodAffinity
		a.RequiredDuringSchedulingIgnoredDuringExecution = withoutTerms(p, a.RequiredDuringSchedulingIgnoredDuringExecution, lacking)
	}})
}

// companion is a pod that all terms are about; nil if there is none that is easily made.
func companion(terms []*term, of *Pod) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "companion", Namespace: of.Namespace, UID: types.UID("companion"), Labels: map[string]string{}}}
	for _, t := range terms {
		if len(t.namespaces) > 0 {
			pod.Namespace = t.namespaces[0]
		}
		requirements, _ := t.selector.Requirements()
		for _, r := range requirements {
			if values := r.Values().List(); len(values) > 0 && r.Matches(labels.Set{r.Key(): values[0]}) {
				pod.Labels[r.Key()] = values[0]
			}
		}
	}
	if len(pod.Labels) == 0 {
		return nil
	}
	return pod
}
