package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// replicaSets promises that there are as many active pods with its labels as each ReplicaSet wants: pods that are finished or
// going do not count. Pods that match and belong to nobody are adopted, pods that no longer match are let go. When there are
// too many, those go first that are missed least (see doomed), where the pods of all ReplicaSets of one Deployment count as
// neighbours on a node.
//
// A ReplicationController is the same under an older name, and is treated as the ReplicaSet that it would be.
//
// The subtle case is what the caches have not seen yet: the runtime sees to that.
type replicaSets struct {
	replicaKind
	pods    *Source
	numbers *podNumbers
}

// replicaKind is a kind of objects that want a number of pods.
type replicaKind struct {
	metav1.TypeMeta
	source *Source
	// view is an object as a ReplicaSet. Its status alone is not shared.
	view func(metav1.Object) *appsv1.ReplicaSet
	// fresh reads an object from the API.
	fresh func(context.Context, *Turn) (metav1.Object, error)
	// tell writes the status that was found.
	tell func(context.Context, *Turn, metav1.Object, appsv1.ReplicaSetStatus) error
	// dropsGoing is set where the kind's status has no place for the pods that are going.
	dropsGoing bool
}

func replicaSetLoop(c *Config) Loop {
	return replicasOfKind(c, replicaKind{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
		source: c.Source(&appsv1.ReplicaSet{}),
		view:   func(o metav1.Object) *appsv1.ReplicaSet { return o.(*appsv1.ReplicaSet) },
		fresh: func(ctx context.Context, t *Turn) (metav1.Object, error) {
			return t.Client.AppsV1().ReplicaSets(t.Namespace).Get(ctx, t.Name, metav1.GetOptions{})
		},
		tell: func(ctx context.Context, t *Turn, o metav1.Object, status appsv1.ReplicaSetStatus) error {
			changed := *o.(*appsv1.ReplicaSet)
			changed.Status = status
			_, err := UpdateStatus(ctx, t, t.Client.AppsV1().ReplicaSets(t.Namespace), &changed)
			return err
		}})
}

func replicasOfKind(c *Config, kind replicaKind) Loop {
	x := &replicaSets{kind, c.Source(&corev1.Pod{}), newPodNumbers(kind.Kind, kind.source, onePlace)}
	return Loop{
		Watches:   []Watch{{Source: x.source, Keys: x.changed}, {Source: x.pods, Keys: x.ofPod}},
		Reconcile: x.reconcile,
	}
}

func (x *replicaSets) changed(old, now metav1.Object) []Key {
	if now == nil {
		x.numbers.forget(old.GetUID())
	}
	return itself(old, now)
}

// itself is the key of the object that changed.
func itself(old, now metav1.Object) []Key {
	if now == nil {
		now = old
	}
	return []Key{KeyOf(now)}
}

// ofPod are those that a change of a pod concerns: its owner, before and after; those whose labels it matches, if it has
// none.
func (x *replicaSets) ofPod(old, now metav1.Object) []Key {
	x.numbers.saw(old, now)
	return ownersOrMatching(x.Kind, old, now, x.matching)
}

func (x *replicaSets) matching(pod metav1.Object) []Key {
	return selecting(pod, x.source.all(pod.GetNamespace()), func(o metav1.Object) *metav1.LabelSelector { return x.view(o).Spec.Selector })
}

func (x *replicaSets) reconcile(ctx context.Context, t *Turn) error {
	o := x.source.cached(t.Key)
	if o == nil {
		return nil
	}
	rs, teller := x.view(o), o.(podOwner)
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil // validation lets none through that would get better by itself
	}
	version := x.numbers.version(rs.UID)
	all := Claimable[*corev1.Pod](x.pods, rs)
	// 1. Whose pods are whose?
	reference := ownedBy(rs, x.TypeMeta)
	live := slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !isActive(p) })
	claimed := claimOf(rs, selector, live)
	if err := claimPods(ctx, t, claimed, rs, reference, func(ctx context.Context) (metav1.Object, error) { return x.fresh(ctx, t) }); err != nil {
		return err
	}
	if len(claimed.mine) < int(sizeOf(rs)) && rs.Status.ObservedGeneration == 0 && mayInherit(x.pods, rs, x.Kind, selector) {
		if behind, err := t.Behind(ctx, x.pods); behind || err != nil {
			return err
		}
	}
	// 2. More of them, or fewer?
	var problem error
	if rs.DeletionTimestamp == nil {
		switch surplus := len(claimed.mine) - int(sizeOf(rs)); {
		case surplus < 0:
			_, problem = createPods(ctx, t, teller, x.numbers, podsSeen{all, version}, min(-surplus, burst), func(int) *corev1.Pod {
				return podOf(&rs.Spec.Template, rs.Namespace, rs, reference)
			})
		case surplus > 0:
			order := doomed(claimed.mine, x.crowd(rs), t.Now)
			problem = deletePods(ctx, t, teller, order[:min(surplus, burst)])
		}
	}
	// 3. What it is like now. Pods that became ready a moment ago become available by themselves.
	going := ptr.To(countGoing(rs, all))
	if x.dropsGoing {
		going = nil
	}
	status, next := replicaSetStatus(rs, claimed.mine, going, problem, t.Now)
	if next > 0 {
		t.Again(next)
	}
	if !equality.Semantic.DeepEqual(rs.Status, status) {
		if err := x.tell(ctx, t, o, status); err != nil && problem == nil {
			problem = err
		}
	}
	return problem
}

// crowd counts, for each node, the active pods of those that have the same owner.
func (x *replicaSets) crowd(rs *appsv1.ReplicaSet) func(*corev1.Pod) int {
	siblings := []metav1.Object{rs}
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		siblings = Owned[metav1.Object](x.source, &metav1.ObjectMeta{UID: owner.UID})
	}
	nodes := map[string]int{}
	for _, sibling := range siblings {
		for _, p := range Owned[*corev1.Pod](x.pods, sibling) {
			if isActive(p) {
				nodes[p.Spec.NodeName]++
			}
		}
	}
	return func(p *corev1.Pod) int { return nodes[p.Spec.NodeName] }
}

// countGoing counts the pods that the owner has lost but that are still there.
func countGoing(owner metav1.Object, all []*corev1.Pod) int32 {
	n := int32(0)
	for _, p := range all {
		finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if r := metav1.GetControllerOfNoCopy(p); p.DeletionTimestamp != nil && !finished && r != nil && r.UID == owner.GetUID() {
			n++
		}
	}
	return n
}

// replicaSetStatus is what the pods amount to, and when it will have changed by the mere passing of time; zero is never.
func replicaSetStatus(rs *appsv1.ReplicaSet, pods []*corev1.Pod, going *int32, problem error, now time.Time) (_ appsv1.ReplicaSetStatus, next time.Duration) {
	s := *rs.Status.DeepCopy()
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = int32(len(pods)), 0, 0, 0
	s.TerminatingReplicas, s.ObservedGeneration = going, rs.Generation
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	for _, p := range pods {
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		rest, ready := availableIn(p, rs.Spec.MinReadySeconds, now)
		switch {
		case !ready:
			continue
		case rest == 0:
			s.AvailableReplicas++
		case next == 0 || rest < next:
			next = rest
		}
		s.ReadyReplicas++
	}
	s.Conditions = replicaFailure(s.Conditions, problem, len(pods) < int(ptr.Deref(rs.Spec.Replicas, 1)), now)
	return s, next
}

// replicaFailure says whether the last turn could create or delete what it had to.
func replicaFailure(conditions []appsv1.ReplicaSetCondition, problem error, tooFew bool, now time.Time) []appsv1.ReplicaSetCondition {
	failing := slices.IndexFunc(conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case problem == nil && failing >= 0:
		return slices.Delete(conditions, failing, failing+1)
	case problem == nil || failing >= 0:
		return conditions
	}
	reason := "FailedDelete"
	if tooFew {
		reason = "FailedCreate"
	}
	return append(conditions, appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.Time{Time: now}, Reason: reason, Message: problem.Error()})
}
