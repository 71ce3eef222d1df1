package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unmetLabel is a requirement of a node's labels (or its name) that the node does not meet.
type unmetLabel struct {
	corev1.NodeSelectorRequirement
	field    bool // it is about a field, which does not change
	selector bool // it stands in the node selector
}

func (u *unmetLabel) String() string {
	switch op := u.Operator; {
	case u.selector:
		return u.Key + "=" + u.Values[0]
	case len(u.Values) == 0:
		return fmt.Sprintf("%s %s", u.Key, op)
	}
	return fmt.Sprintf("%s %s %s", u.Key, u.Operator, strings.Join(u.Values, ","))
}

// unmet are the requirements that a node does not meet: of the terms of an affinity, of which one suffices, those of the
// term that lacks the fewest.
func (a *nodeAffinity) unmet(p *Pod, n *Node) (selector, affinity []unmetLabel) {
	for key, value := range p.Spec.NodeSelector {
		if n.Labels[key] != value {
			selector = append(selector, unmetLabel{corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}, false, true})
		}
	}
	slices.SortFunc(selector, func(x, y unmetLabel) int { return strings.Compare(x.Key, y.Key) })
	required := requiredNodes(p)
	if required == nil {
		return selector, nil
	}
	return selector, lacking(required.NodeSelectorTerms, n)
}

// lacking are the requirements that a node does not meet of the one of some terms that lacks the fewest.
func lacking(terms []corev1.NodeSelectorTerm, n *Node) (fewest []unmetLabel) {
	for i, t := range terms {
		var lacks []unmetLabel
		for _, r := range t.MatchExpressions {
			if !matchesAlone(r, false, n) {
				lacks = append(lacks, unmetLabel{r, false, false})
			}
		}
		for _, r := range t.MatchFields {
			if !matchesAlone(r, true, n) {
				lacks = append(lacks, unmetLabel{r, true, false})
			}
		}
		if i == 0 || len(lacks) < len(fewest) {
			fewest = lacks
		}
	}
	return fewest
}

// matchesAlone looks at one requirement. (A selector made of it would say the same, at a hundred times the cost: this is
// asked for each node.)
func matchesAlone(r corev1.NodeSelectorRequirement, isField bool, n *Node) bool {
	value, ok := n.Labels[r.Key]
	if isField {
		value, ok = n.name, true
	}
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return ok && slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !ok || !slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return ok
	case corev1.NodeSelectorOpDoesNotExist:
		return !ok
	}
	if !ok || len(r.Values) != 1 {
		return false
	}
	here, err := strconv.ParseInt(value, 10, 64)
	bound, wrong := strconv.ParseInt(r.Values[0], 10, 64)
	if err != nil || wrong != nil {
		return false
	}
	return r.Operator == corev1.NodeSelectorOpGt && here > bound || r.Operator == corev1.NodeSelectorOpLt && here < bound
}

// Facts are the requirements that are not met.
func (a *nodeAffinity) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	if n == nil {
		return nil
	}
	if a.added != nil && !a.added.Match(n.Node) {
		return []Fact{{Text: "the affinity that the scheduler's configuration adds is not met"}}
	}
	selector, affinity := a.unmet(c.Pod, n)
	for _, u := range append(selector, affinity...) {
		here, ok := n.Labels[u.Key]
		has := "here it is " + here
		switch {
		case u.field:
			has = "here it is another one"
		case !ok:
			has = "there is no such label"
		}
		facts = append(facts, Fact{Text: fmt.Sprintf("%s is asked for; %s", u.String(), has), Term: u.String()})
	}
	return facts
}

// Changes are to label the node, or to ask for less.
func (a *nodeAffinity) Changes(c *Cycle, _ Judge, n *Node) (changes []Change) {
	if a.added != nil && !a.added.Match(n.Node) {
		return nil
	}
	selector, affinity := a.unmet(c.Pod, n)
	if labels := meeting(append(slices.Clone(selector), affinity...)); labels != nil {
		changes = append(changes, labeling(n, 15+5*len(labels), labels))
	}
	if len(selector) > 0 {
		changes = append(changes, Change{Text: "drop " + joined(selector) + " from the pod's nodeSelector", Kind: "selector", Cost: 40, Pod: func(p *corev1.Pod) {
			for _, u := range selector {
				delete(p.Spec.NodeSelector, u.Key)
			}
		}})
	}
	if len(affinity) > 0 {
		changes = append(changes, Change{Text: "drop " + joined(affinity) + " from the pod's node affinity", Kind: "affinity", Cost: 45, Pod: func(p *corev1.Pod) {
			terms := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			for i := range terms {
				terms[i].MatchExpressions = without(terms[i].MatchExpressions, affinity, false)
				terms[i].MatchFields = without(terms[i].MatchFields, affinity, true)
			}
			// A term of nothing matches nothing: an affinity of nothing is none.
			if slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool { return len(t.MatchExpressions)+len(t.MatchFields) == 0 }) {
				p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
			}
		}})
	}
	return changes
}

func joined(list []unmetLabel) string {
	var texts []string
	for _, u := range list {
		texts = append(texts, u.String())
	}
	return strings.Join(texts, " and ")
}

func without(list []corev1.NodeSelectorRequirement, gone []unmetLabel, isField bool) []corev1.NodeSelectorRequirement {
	return slices.DeleteFunc(list, func(r corev1.NodeSelectorRequirement) bool {
		return slices.ContainsFunc(gone, func(u unmetLabel) bool {
			return u.field == isField && u.Key == r.Key && u.Operator == r.Operator && slices.Equal(u.Values, r.Values)
		})
	})
}

// meeting are labels with which a node meets requirements; nil if labels that are added cannot do that.
func meeting(unmet []unmetLabel) map[string]string {
	labels := map[string]string{}
	for _, u := range unmet {
		switch {
		case u.field || u.Key == metav1.ObjectNameField || u.Key == corev1.LabelHostname:
			return nil
		case u.Operator == corev1.NodeSelectorOpIn:
			labels[u.Key] = u.Values[0]
		case u.Operator == corev1.NodeSelectorOpExists:
			labels[u.Key] = ""
		case u.Operator == corev1.NodeSelectorOpGt, u.Operator == corev1.NodeSelectorOpLt:
			bound, err := strconv.Atoi(u.Values[0])
			if err != nil {
				return nil
			}
			labels[u.Key] = strconv.Itoa(bound + map[bool]int{true: 1, false: -1}[u.Operator == corev1.NodeSelectorOpGt])
		default:
			return nil
		}
	}
	if len(labels) == 0 {
		return nil
	}
	return labels
}
