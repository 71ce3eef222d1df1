package scheduler

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// affinity is what a pod says about other pods.
type affinity struct {
	required, requiredAnti   []*term
	preferred, preferredAnti []*term
}

// term is one wish about other pods: which, and how near is near.
type term struct {
	key               string // the same for terms that mean the same, whatever their topology key and weight
	namespaces        []string
	namespaceSelector labels.Selector // of further namespaces; may be nil
	selector          labels.Selector
	topologyKey       string
	weight            int64 // of a preference
}

func (t *term) choosesNamespaces() bool { return t.namespaceSelector != nil }

// affinityOf reads a pod's terms; nil if it has none.
func affinityOf(pod *corev1.Pod) *affinity {
	spec := pod.Spec.Affinity
	if spec == nil || spec.PodAffinity == nil && spec.PodAntiAffinity == nil {
		return nil
	}
	var a affinity
	if s := spec.PodAffinity; s != nil {
		a.required = requiredTerms(pod, s.RequiredDuringSchedulingIgnoredDuringExecution)
		a.preferred = preferredTerms(pod, s.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if s := spec.PodAntiAffinity; s != nil {
		a.requiredAnti = requiredTerms(pod, s.RequiredDuringSchedulingIgnoredDuringExecution)
		a.preferredAnti = preferredTerms(pod, s.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return &a
}

func requiredTerms(pod *corev1.Pod, list []corev1.PodAffinityTerm) []*term {
	var terms []*term
	for i := range list {
		terms = append(terms, newTerm(pod, &list[i], 0))
	}
	return terms
}

func preferredTerms(pod *corev1.Pod, list []corev1.WeightedPodAffinityTerm) []*term {
	var terms []*term
	for i := range list {
		terms = append(terms, newTerm(pod, &list[i].PodAffinityTerm, int64(list[i].Weight)))
	}
	return terms
}

// newTerm reads a term. The API server has let only valid selectors pass; another one selects nothing.
func newTerm(pod *corev1.Pod, t *corev1.PodAffinityTerm, weight int64) *term {
	out := &term{namespaces: slices.Clone(t.Namespaces), topologyKey: t.TopologyKey, weight: weight}
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		out.namespaces = []string{pod.Namespace}
	}
	slices.Sort(out.namespaces)
	out.selector = selectorOf(t.LabelSelector)
	others := ""
	if t.NamespaceSelector != nil {
		out.namespaceSelector = selectorOf(t.NamespaceSelector)
		others = selectorKey(out.namespaceSelector)
	}
	out.key = strings.Join(out.namespaces, ",") + "|" + others + "|" + selectorKey(out.selector)
	return out
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// selectorKey tells selectors apart, also the one of nothing from the one of everything.
func selectorKey(s labels.Selector) string {
	if _, selectable := s.Requirements(); !selectable {
		return "!"
	}
	return "=" + s.String()
}

// matches reports whether a pod of the class is one of those that the term is about.
func (t *term) matches(c *class, namespaces map[string]labels.Set) bool {
	if _, ok := slices.BinarySearch(t.namespaces, c.namespace); !ok &&
		(t.namespaceSelector == nil || !t.namespaceSelector.Matches(namespaces[c.namespace])) {
		return false
	}
	return t.selector.Matches(c.labels)
}

// anyMatches reports whether the class is what any of the terms is about.
func anyMatches(terms []*term, c *class, namespaces map[string]labels.Set) bool {
	return slices.ContainsFunc(terms, func(t *term) bool { return t.matches(c, namespaces) })
}

// allMatch reports whether the class is what all terms are about.
func allMatch(terms []*term, c *class, namespaces map[string]labels.Set) bool {
	for _, t := range terms {
		if !t.matches(c, namespaces) {
			return false
		}
	}
	return len(terms) > 0
}
