package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/utils/ptr"
)

// deployments promises that in the end all pods are of the deployment's template, and that on the way there are never more
// than maxSurge too many of them, nor more than maxUnavailable too few that are available. It does so by the sizes of
// ReplicaSets, one for each template that the deployment has had: the current one grows, the old ones shrink, and stay empty
// as a history to go back to.
//
// The subtle case is a deployment that is scaled in the middle of a rollout. Each ReplicaSet carries the size that the
// deployment had when it was sized last; where that differs, all of them grow or shrink in proportion, and the rollout goes on
// when that is done.
//
//	deployment.go            read, plan, apply
//	deployment_plan.go       what is to be done
//	deployment_revision.go   which ReplicaSet has which template, and what it remembers; going back
//	deployment_rolling.go    from old to current, step by step or all at once
//	deployment_scale.go      sizes, in proportion
//	deployment_status.go     what people are told
type deployments struct {
	all       *Source
	sets      *Source
	pods      *Source
	lister    appslisters.DeploymentLister
	setLister appslisters.ReplicaSetLister
}

// deploymentKind is what a ReplicaSet says of the deployment that it belongs to.
func deploymentKind() metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
}

func deploymentLoop(c *Config) Loop {
	apps := c.Informers.Apps().V1()
	x := &deployments{c.Source(&appsv1.Deployment{}), c.Source(&appsv1.ReplicaSet{}), c.Source(&corev1.Pod{}),
		apps.Deployments().Lister(), apps.ReplicaSets().Lister()}
	return Loop{
		Watches:   []Watch{{x.all, itself}, {x.sets, x.ofSet}, {x.pods, x.ofPod}},
		Reconcile: x.reconcile,
	}
}

// ofSet are the deployments that a change of a ReplicaSet concerns: its owner, before and after; those whose selector it
// matches, if it has none.
func (x *deployments) ofSet(old, now metav1.Object) []Key {
	return ownersOrMatching("Deployment", old, now, x.matching)
}

func (x *deployments) matching(set metav1.Object) []Key {
	all, _ := x.lister.Deployments(set.GetNamespace()).List(labels.Everything()) // a cache does not fail
	return selecting(set, all, func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector })
}

// ofPod is the deployment that may have waited for a pod to be gone before it makes new ones.
func (x *deployments) ofPod(old, now metav1.Object) []Key {
	if now != nil {
		return nil
	}
	set := metav1.GetControllerOfNoCopy(old)
	if set == nil || set.Kind != "ReplicaSet" {
		return nil
	}
	rs, err := x.setLister.ReplicaSets(old.GetNamespace()).Get(set.Name)
	if err != nil || rs.UID != set.UID {
		return nil
	}
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil || owner.Kind != "Deployment" {
		return nil
	}
	d, err := x.lister.Deployments(rs.Namespace).Get(owner.Name)
	if err != nil || d.UID != owner.UID || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []Key{KeyOf(d)}
}

func (x *deployments) reconcile(ctx context.Context, t *Turn) error {
	d, err := x.lister.Deployments(t.Namespace).Get(t.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if selectsAll(d.Spec.Selector) {
		return x.refuse(ctx, t, d)
	}
	// 1. Whose ReplicaSets are whose?
	sets, err := x.claim(ctx, t, d)
	if err != nil {
		return err
	}
	// 2. What is to be done?
	plan := planDeployment(d, sets, x.running(d, sets), t.Now)
	// 3. Do it, and tell of it.
	if err := x.apply(ctx, t, plan); err != nil {
		return err
	}
	if next := deploymentDeadline(plan.d, t.Now); next > 0 {
		t.Again(next)
	}
	return nil
}

func selectsAll(s *metav1.LabelSelector) bool {
	return s != nil && len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// refuse leaves a deployment alone that would take every pod of its namespace.
func (x *deployments) refuse(ctx context.Context, t *Turn, d *appsv1.Deployment) error {
	t.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
	if d.Status.ObservedGeneration >= d.Generation {
		return nil
	}
	seen := d.DeepCopy()
	seen.Status.ObservedGeneration = d.Generation
	_, err := UpdateStatus(ctx, t, t.Client.AppsV1().Deployments(d.Namespace), seen)
	return err
}

// claim brings references of ReplicaSets in line with labels and returns those of the deployment.
func (x *deployments) claim(ctx context.Context, t *Turn, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("deployment %s has invalid label selector: %w", t.Key, err)
	}
	claimed := claimOf(d, selector, Claimable[*appsv1.ReplicaSet](x.sets, d))
	err = claimObjects(ctx, t, t.Client.AppsV1().ReplicaSets(t.Namespace), claimed, d, ownedBy(d, deploymentKind()),
		func(ctx context.Context) (metav1.Object, error) {
			return t.Client.AppsV1().Deployments(t.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		})
	return claimed.mine, err
}

// running counts the pods of each ReplicaSet that may still run. Only who wants all of them gone asks.
func (x *deployments) running(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) map[types.UID]int {
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	count := map[types.UID]int{}
	for _, rs := range sets {
		for _, p := range Owned[*corev1.Pod](x.pods, rs) {
			if p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
				count[rs.UID]++
			}
		}
	}
	return count
}

// apply takes the steps of a plan in order and then tells of it. What a step has not done must not be told.
func (x *deployments) apply(ctx context.Context, t *Turn, plan *rollout) error {
	for _, s := range plan.steps {
		if err := x.take(ctx, t, plan.was, s); err != nil {
			return unlessEnding(err)
		}
	}
	for _, e := range plan.events {
		t.Event(plan.was, e.kind, e.reason, "%s", e.message)
	}
	client := t.Client.AppsV1().Deployments(t.Namespace)
	switch {
	case plan.respecified:
		_, err := Update(ctx, t, client, plan.d)
		return err
	case !equality.Semantic.DeepEqual(plan.was.Status, plan.d.Status), plan.was.Annotations[revisionAnnotation] != plan.d.Annotations[revisionAnnotation]:
		_, err := UpdateStatus(ctx, t, client, plan.d)
		return err
	}
	return nil
}

// unlessEnding forgets that nothing can be created in a namespace that is going: nothing has to be.
func unlessEnding(err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

func (x *deployments) take(ctx context.Context, t *Turn, d *appsv1.Deployment, s setStep) error {
	client := t.Client.AppsV1().ReplicaSets(t.Namespace)
	size := ptr.Deref(s.set.Spec.Replicas, 1)
	switch s.do {
	case setCreate:
		if _, err := Create(ctx, t, client, s.set); err != nil {
			return x.notCreated(ctx, t, d, s.set, err)
		}
	case setUpdate:
		if _, err := Update(ctx, t, client, s.set); err != nil {
			return err
		}
	case setDelete:
		return Delete(ctx, t, client, s.set, metav1.DeleteOptions{})
	}
	switch {
	case s.from < size:
		t.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from %d to %d", s.set.Name, s.from, size)
	case s.from > size:
		t.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled down replica set %s from %d to %d", s.set.Name, s.from, size)
	}
	return nil
}

// notCreated deals with a ReplicaSet that could not be created. If its name is taken by another, the next turn tries the
// next name. Any other reason is what people need to know.
func (x *deployments) notCreated(ctx context.Context, t *Turn, d *appsv1.Deployment, rs *appsv1.ReplicaSet, problem error) error {
	changed := d.DeepCopy()
	switch {
	case apierrors.HasStatusCause(problem, corev1.NamespaceTerminatingCause):
		return problem
	case apierrors.IsAlreadyExists(problem):
		there, err := t.Client.AppsV1().ReplicaSets(t.Namespace).Get(ctx, rs.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if metav1.IsControlledBy(there, d) && sameTemplate(&there.Spec.Template, &d.Spec.Template) {
			return problem // the cache will have it soon
		}
		changed.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
	default:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, problem)
		if hasProgressDeadline(d) {
			setDeploymentCondition(&changed.Status, appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", message, t.Now)
		}
		problem = t.Failed(d, problem, "ReplicaSetCreateError", "%s", message)
	}
	if !equality.Semantic.DeepEqual(d.Status, changed.Status) {
		if _, err := UpdateStatus(ctx, t, t.Client.AppsV1().Deployments(t.Namespace), changed); err != nil {
			t.Log.Debug("the reason is told with the next turn", "err", err)
		}
	}
	return problem
}
