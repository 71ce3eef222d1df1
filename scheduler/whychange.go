package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Change is one thing that people could change so that a node lets a pod in.
type Change struct {
	Text string // in the imperative
	// Kind is the same for changes that are alike but for numbers and names: of those, the smallest is told.
	Kind string
	// Cost is how large it is, roughly: 0 is nothing, 100 is a lot.
	Cost int
	Pod  func(*corev1.Pod)  // changes the pod; nil if it stays as it is
	Node func(*corev1.Node) // changes the node
	Gone []*Pod             // leave the node
	Come *corev1.Pod        // to the node
	// Storage are claims, volumes, classes and attachments as they would be, or that there would be.
	Storage []metav1.Object
}

// What bounds the search for changes: how many steps one may have, how many nodes of each group are tried, how many tries
// there are in all, and how many changes are told.
const (
	maxSteps   = 3
	maxTried   = 3
	maxTrials  = 150
	maxChanges = 5
)

// search looks for changes that would let a pod run: on the nodes that are nearest to letting it in, step by step, with
// what the plugin that refuses proposes. Every answer has been tried in another world: a cycle finds a node there.
type search struct {
	*Scheduler
	pod     *Waiting
	trials  int
	answers []answer
}

// answer is steps that help.
type answer struct {
	steps []Change
	node  string
}

func (a *answer) cost() (cost int) {
	for _, s := range a.steps {
		cost += s.Cost
	}
	return cost + 100*len(a.steps) // fewer steps are smaller than any sum of them
}

// changesFor finds the smallest changes, of different kinds.
func (s *Scheduler) changesFor(w *Waiting, ways [][]*explained) (changes []WhyChange) {
	x := &search{Scheduler: s, pod: w}
	for depth := 1; depth <= maxSteps && len(x.answers) < maxChanges; depth++ {
		for _, way := range ways {
			for _, e := range way[:min(len(way), maxTried)] {
				x.try(e.node, nil, depth)
			}
		}
	}
	slices.SortStableFunc(x.answers, func(a, b answer) int { return cmp.Compare(a.cost(), b.cost()) })
	var told []answer
	for _, a := range x.answers {
		if len(told) < maxChanges && !slices.ContainsFunc(told, a.exceeds) {
			told = append(told, a)
			changes = append(changes, WhyChange{a.texts(), a.node})
		}
	}
	return changes
}

func (a *answer) texts() (texts []string) {
	for _, s := range a.steps {
		texts = append(texts, s.Text)
	}
	return texts
}

// exceeds reports that an answer has all kinds of steps of a smaller one.
func (a answer) exceeds(smaller answer) bool {
	return !slices.ContainsFunc(smaller.steps, func(s Change) bool {
		return !slices.ContainsFunc(a.steps, func(o Change) bool { return o.Kind == s.Kind })
	})
}

// try goes on from some steps that do not suffice, as many steps further as depth allows.
func (x *search) try(n *Node, steps []Change, depth int) {
	if x.trials++; x.trials > maxTrials {
		return
	}
	next, helps := x.ask(n, steps)
	if helps != "" {
		if len(steps) > 0 && !slices.ContainsFunc(x.answers, func(a answer) bool {
			return strings.Join(a.texts(), "|") == strings.Join((&answer{steps: steps}).texts(), "|")
		}) {
			x.answers = append(x.answers, answer{slices.Clone(steps), helps})
		}
		return
	}
	if depth == 0 {
		return
	}
	for _, change := range next {
		if !slices.ContainsFunc(steps, func(s Change) bool { return s.Text == change.Text }) {
			x.try(n, append(slices.Clip(steps), change), depth-1)
		}
	}
}

// ask looks at the world with the steps done: the node that the pod would get, or what else might help. n is nil if the pod is
// refused by all nodes at once.
func (x *search) ask(n *Node, steps []Change) (next []Change, node string) {
	world := x.supposing()
	defer world.undo()
	pod := x.pod.Pod.Pod.DeepCopy()
	pod.Spec.SchedulingGates = nil
	var storage []metav1.Object
	for i, s := range steps {
		storage = append(storage, s.Storage...)
		if s.Pod != nil {
			s.Pod(pod)
		}
		if s.Node != nil {
			world.change(n, s.Node)
		}
		for _, p := range s.Gone {
			world.remove(p.UID)
		}
		if s.Come != nil {
			come := s.Come.DeepCopy()
			come.UID = types.UID(fmt.Sprintf("%s-companion-%d", x.pod.UID, i))
			world.place(newPod(come), n.name)
		}
	}
	cycle := func() *Cycle {
		c := x.dryCycle(newPod(pod), x.pod.profile)
		c.storage = x.volumes.supposing(storage)
		return c
	}
	c := cycle()
	c.classOf(c.Pod)
	if refusal := c.appoint(); refusal != nil {
		if explainer, _ := c.explainer(refusal.Plugin); explainer != nil {
			return explainer.Changes(c, nil, nil), ""
		}
		return nil, ""
	}
	if n != nil {
		if refusal := c.judge(n); refusal != nil {
			explainer, judge := c.explainer(refusal.Plugin)
			if explainer == nil || judge == nil || c.judgeAsIs(n) == nil {
				return nil, ""
			}
			return explainer.Changes(c, judge, n), ""
		}
	}
	found, _ := cycle().decide()
	if found == nil {
		return nil, ""
	}
	return nil, found.name
}

// freeing is the change that some pods leave a node; none if they would come back, or are too many.
func freeing(n *Node, what string, pods []*Pod) []Change {
	const many = 5
	if len(pods) == 0 || len(pods) > many || slices.ContainsFunc(pods, func(p *Pod) bool { return !mayLeave(p) }) {
		return nil
	}
	var names []string
	for _, p := range pods {
		names = append(names, fmt.Sprintf("%s (priority %d)", p.key(), p.priority()))
	}
	return []Change{{Text: fmt.Sprintf("free %s on %s: delete or move %s", what, n.name, strings.Join(names, ", ")), Kind: "free", Cost: 30 + 10*len(pods), Gone: pods}}
}

// mayLeave reports that a pod would not come back to its node at once.
func mayLeave(p *Pod) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	return !slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "DaemonSet" })
}

// labeling is the change that a node gets labels.
func labeling(n *Node, cost int, labels map[string]string) Change {
	var texts []string
	for key, value := range labels {
		texts = append(texts, key+"="+value)
	}
	slices.Sort(texts)
	return Change{Text: fmt.Sprintf("label %s with %s", n.name, strings.Join(texts, ", ")), Kind: "label", Cost: cost, Node: func(o *corev1.Node) {
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		maps.Copy(o.Labels, labels)
	}}
}
