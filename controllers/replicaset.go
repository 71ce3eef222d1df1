package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/utils/ptr"
)

// replicaSet promises that there are as many active pods with its labels as it wants: pods that are finished or going do
// not count. Pods that match and belong to nobody are adopted, pods that no longer match are let go. When there are too
// many, those go first that are missed least (see doomed), where the pods of all ReplicaSets of one Deployment count as
// neighbours on a node.
//
// The subtle case is what the caches have not seen yet: the runtime sees to that.
type replicaSet struct {
	sets   *Source
	pods   *Source
	lister appslisters.ReplicaSetLister
}

func replicaSets(c *Config) Loop {
	x := &replicaSet{c.Source(&appsv1.ReplicaSet{}), c.Source(&corev1.Pod{}), c.Informers.Apps().V1().ReplicaSets().Lister()}
	return Loop{
		Watches:   []Watch{{x.sets, itself}, {x.pods, x.setsOf}},
		Reconcile: x.reconcile,
	}
}

// itself is the key of the object that changed.
func itself(old, now metav1.Object) []Key {
	if now == nil {
		now = old
	}
	return []Key{KeyOf(now)}
}

// setsOf are the ReplicaSets that a change of a pod concerns: its owner, before and after; those whose labels it
// matches, if it has none.
func (x *replicaSet) setsOf(old, now metav1.Object) []Key {
	return ownersOrMatching("ReplicaSet", old, now, x.matching)
}

func (x *replicaSet) matching(pod metav1.Object) (keys []Key) {
	sets, _ := x.lister.ReplicaSets(pod.GetNamespace()).List(labels.Everything()) // a cache does not fail
	for _, rs := range sets {
		if selectorMatches(rs.Spec.Selector, pod) {
			keys = append(keys, KeyOf(rs))
		}
	}
	return keys
}

func (x *replicaSet) reconcile(ctx context.Context, t *Turn) error {
	rs, err := x.lister.ReplicaSets(t.Namespace).Get(t.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil // validation lets none through that would get better by itself
	}
	all := Claimable[*corev1.Pod](x.pods, rs)
	// 1. Whose pods are whose?
	reference := ownedBy(rs, metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"})
	live := slices.DeleteFunc(slices.Clone(all), func(p *corev1.Pod) bool { return !isActive(p) })
	claimed := claimOf(rs, selector, live)
	if err := claimPods(ctx, t, claimed, rs, reference, func(ctx context.Context) (metav1.Object, error) {
		return t.Client.AppsV1().ReplicaSets(t.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
	}); err != nil {
		return err
	}
	// 2. More of them, or fewer?
	var problem error
	if rs.DeletionTimestamp == nil {
		switch surplus := len(claimed.mine) - int(ptr.Deref(rs.Spec.Replicas, 1)); {
		case surplus < 0:
			problem = createPods(ctx, t, rs, min(-surplus, burst), func() *corev1.Pod { return podOf(&rs.Spec.Template, rs.Namespace, rs, reference) })
		case surplus > 0:
			order := doomed(claimed.mine, x.crowd(rs), t.Now)
			problem = deletePods(ctx, t, rs, order[:min(surplus, burst)])
		}
	}
	// 3. What it is like now. Pods that became ready a moment ago become available by themselves.
	going := countGoing(rs, all)
	status, next := replicaSetStatus(rs, claimed.mine, going, problem, t.Now)
	if next > 0 {
		t.Again(next)
	}
	if !equality.Semantic.DeepEqual(rs.Status, status) {
		changed := rs.DeepCopy()
		changed.Status = status
		if _, err := UpdateStatus(ctx, t, t.Client.AppsV1().ReplicaSets(t.Namespace), changed); err != nil && problem == nil {
			problem = err
		}
	}
	return problem
}

// crowd counts, for each node, the active pods of the ReplicaSets that have the same owner.
func (x *replicaSet) crowd(rs *appsv1.ReplicaSet) func(*corev1.Pod) int {
	siblings := []*appsv1.ReplicaSet{rs}
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		siblings = Owned[*appsv1.ReplicaSet](x.sets, &metav1.ObjectMeta{UID: owner.UID})
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
func replicaSetStatus(rs *appsv1.ReplicaSet, pods []*corev1.Pod, going int32, problem error, now time.Time) (_ appsv1.ReplicaSetStatus, next time.Duration) {
	s := *rs.Status.DeepCopy()
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = int32(len(pods)), 0, 0, 0
	s.TerminatingReplicas, s.ObservedGeneration = &going, rs.Generation
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
