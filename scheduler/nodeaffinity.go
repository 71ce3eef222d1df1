package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	corev1affinity "k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// nodeAffinity keeps pods to the nodes that their node selector and their affinity name, and likes those that they prefer.
//
// A configuration may add an affinity, of all pods of the profile.
type nodeAffinity struct {
	added          *corev1affinity.NodeSelector // nil if there is none
	addedPreferred *corev1affinity.PreferredSchedulingTerms
}

func newNodeAffinity(_ *Scheduler, args *nodeAffinityArgs) *nodeAffinity {
	a := &nodeAffinity{}
	if added := args.AddedAffinity; added != nil {
		a.added, a.addedPreferred, _ = parsedAffinity(added, nil) // it is valid
	}
	return a
}

type nodeAffinityArgs struct{ configv1.NodeAffinityArgs }

// Default has nothing to fill in.
func (*nodeAffinityArgs) Default() {}

func (a *nodeAffinityArgs) Validate(at *field.Path) (errs field.ErrorList) {
	if a.AddedAffinity == nil {
		return nil
	}
	_, _, err := parsedAffinity(a.AddedAffinity, at.Child("addedAffinity"))
	if err == nil {
		return nil
	}
	for _, e := range err.Errors() {
		if f, ok := e.(*field.Error); ok {
			errs = append(errs, f)
		} else {
			errs = append(errs, field.Invalid(at.Child("addedAffinity"), field.OmitValueType{}, e.Error()))
		}
	}
	return errs
}

func parsedAffinity(a *corev1.NodeAffinity, at *field.Path) (*corev1affinity.NodeSelector, *corev1affinity.PreferredSchedulingTerms, utilerrors.Aggregate) {
	var required *corev1affinity.NodeSelector
	var preferred *corev1affinity.PreferredSchedulingTerms
	var errs []error
	if s := a.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
		parsed, err := corev1affinity.NewNodeSelector(s, field.WithPath(at.Child("requiredDuringSchedulingIgnoredDuringExecution")))
		required, errs = parsed, append(errs, err)
	}
	if s := a.PreferredDuringSchedulingIgnoredDuringExecution; len(s) > 0 {
		parsed, err := corev1affinity.NewPreferredSchedulingTerms(s, field.WithPath(at.Child("preferredDuringSchedulingIgnoredDuringExecution")))
		preferred, errs = parsed, append(errs, err)
	}
	return required, preferred, utilerrors.Flatten(utilerrors.NewAggregate(errs))
}

func (a *nodeAffinity) Filter(c *Cycle) (Judge, *Refusal) {
	if len(c.Pod.Spec.NodeSelector) == 0 && requiredNodes(c.Pod) == nil && a.added == nil {
		return nil, nil
	}
	required := corev1affinity.GetRequiredNodeAffinity(c.Pod.Pod)
	refusal := &Refusal{"NodeAffinity", []string{"node(s) didn't match Pod's node affinity/selector"}, true}
	enforced := &Refusal{"NodeAffinity", []string{"node(s) didn't match scheduler-enforced node affinity"}, true}
	return judging(func(n *Node) *Refusal {
		if a.added != nil && !a.added.Match(n.Node) {
			return enforced
		}
		if ok, _ := required.Match(n.Node); !ok { // a term that cannot be read matches nothing
			return refusal
		}
		return nil
	}), nil
}

func requiredNodes(p *Pod) *corev1.NodeSelector {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// Choose finds the names if every term names nodes, as those of a DaemonSet's pods do.
func (*nodeAffinity) Choose(c *Cycle) ([]string, bool, *Refusal) {
	required := requiredNodes(c.Pod)
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil, false, nil
	}
	var names []string
	for i := range required.NodeSelectorTerms {
		named, limited := namedBy(&required.NodeSelectorTerms[i])
		if !limited {
			return nil, false, nil
		}
		names = append(names, named...)
	}
	if len(names) == 0 {
		return nil, true, &Refusal{"NodeAffinity", []string{"pod affinity terms conflict"}, true}
	}
	slices.Sort(names)
	return slices.Compact(names), true, nil
}

// namedBy are the nodes that all of a term's requirements of names have in common.
func namedBy(t *corev1.NodeSelectorTerm) (names []string, limited bool) {
	for _, r := range t.MatchFields {
		if r.Key != metav1.ObjectNameField || r.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		if !limited {
			names, limited = slices.Clone(r.Values), true
			continue
		}
		names = slices.DeleteFunc(names, func(s string) bool { return !slices.Contains(r.Values, s) })
	}
	return names, limited
}

func (a *nodeAffinity) Score(c *Cycle, nodes []*Node, scores []int64) bool {
	var preferences []*corev1affinity.PreferredSchedulingTerms
	if a.addedPreferred != nil {
		preferences = append(preferences, a.addedPreferred)
	}
	if own := c.Pod.Spec.Affinity; own != nil && own.NodeAffinity != nil && own.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution != nil {
		preferred, err := corev1affinity.NewPreferredSchedulingTerms(own.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			return false
		}
		preferences = append(preferences, preferred)
	}
	if len(preferences) == 0 {
		return false
	}
	for i, n := range nodes {
		for _, p := range preferences {
			scores[i] += p.Score(n.Node)
		}
	}
	scaleToBest(scores, false)
	return true
}

func (*nodeAffinity) WakenBy() Kind { return NodeAdded | NodeLabels }

func (a *nodeAffinity) Helps(e *Event, p *Pod) bool {
	if a.added != nil && !a.added.Match(e.Node) {
		return false
	}
	required := corev1affinity.GetRequiredNodeAffinity(p.Pod)
	if ok, err := required.Match(e.Node); err != nil || !ok {
		return err != nil
	}
	if e.OldNode == nil {
		return true
	}
	ok, _ := required.Match(e.OldNode)
	return !ok
}
