package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/utils/ptr"
)

// statefulSets promises that pods with fixed names and claims of their own are there, NAME-0 and up: one after the other, or
// all at once where the policy is parallel; that those too many go from above; and that an update remakes them from above,
// down to the partition, one at a time.
//
// The subtle case is a pod that will never be ready: it holds up all others, also when the template is put right. It has
// to be deleted by hand then; upstream promises nothing else.
type statefulSets struct {
	lister    appslisters.StatefulSetLister
	pods      *Source
	claims    *Source
	revisions *Source
}

func newStatefulSets(c *Config) Loop {
	x := &statefulSets{lister: c.Informers.Apps().V1().StatefulSets().Lister(), pods: c.Source(&corev1.Pod{}),
		claims: c.Source(&corev1.PersistentVolumeClaim{}), revisions: c.Source(&appsv1.ControllerRevision{})}
	return Loop{
		Watches: []Watch{{c.Source(&appsv1.StatefulSet{}), itself}, {x.pods, x.setsOf}, {x.claims, x.waitingFor},
			// Revisions are waited for when they have been written.
			{x.revisions, func(_, _ metav1.Object) []Key { return nil }}},
		Reconcile: x.reconcile,
	}
}

// setsOf are the StatefulSets that a change of a pod concerns.
func (x *statefulSets) setsOf(old, now metav1.Object) []Key {
	return ownersOrMatching("StatefulSet", old, now, func(pod metav1.Object) []Key {
		sets, _ := x.lister.StatefulSets(pod.GetNamespace()).List(labels.Everything()) // a cache does not fail
		return selecting(pod, sets, func(set *appsv1.StatefulSet) *metav1.LabelSelector { return set.Spec.Selector })
	})
}

// waitingFor are the StatefulSets that can go on when a claim is gone.
func (x *statefulSets) waitingFor(old, now metav1.Object) (keys []Key) {
	if now != nil {
		return nil
	}
	sets, _ := x.lister.StatefulSets(old.GetNamespace()).List(labels.Everything()) // a cache does not fail
	for _, set := range sets {
		if slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(c corev1.PersistentVolumeClaim) bool {
			return strings.HasPrefix(old.GetName(), c.Name+"-"+set.Name+"-")
		}) {
			keys = append(keys, KeyOf(set))
		}
	}
	return keys
}

func (x *statefulSets) reconcile(ctx context.Context, t *Turn) error {
	set, err := x.lister.StatefulSets(t.Namespace).Get(t.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil // validation lets none through that would get better by itself
	}
	// 1. Whose revisions and pods are whose?
	revisions, pods, err := x.claim(ctx, t, set, selector)
	if err != nil {
		return err
	}
	// 2. Which revision is wanted, and which was before?
	current, update, collisions, err := x.settleRevisions(ctx, t, set, revisions)
	if err != nil {
		return err
	}
	template, err := revisionTemplate(current)
	if err != nil {
		return err
	}
	v := viewSet(set, current, update, template, pods, t.Now)
	// 3. What is to be done?
	status, next := v.status(collisions)
	if next > 0 {
		t.Again(next)
	}
	var problem error
	if set.DeletionTimestamp == nil {
		renewed, err := x.carryOut(ctx, t, v)
		status.CurrentReplicas -= renewed
		problem = err
	}
	// 4. What is it like now?
	completeUpdate(set, &status)
	if !equality.Semantic.DeepEqual(set.Status, status) {
		changed := set.DeepCopy()
		changed.Status = status
		if _, err := UpdateStatus(ctx, t, t.Client.AppsV1().StatefulSets(t.Namespace), changed); err != nil {
			return errors.Join(problem, err)
		}
	}
	return errors.Join(problem, x.dropRevisions(ctx, t, v, revisions))
}

// claim finds revisions and pods. Pods belong to a set by name too.
func (x *statefulSets) claim(ctx context.Context, t *Turn, set *appsv1.StatefulSet, selector labels.Selector) ([]*appsv1.ControllerRevision, []*corev1.Pod, error) {
	fresh := func(ctx context.Context) (metav1.Object, error) {
		return t.Client.AppsV1().StatefulSets(t.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	}
	history := claimOf(set, selector, Claimable[*appsv1.ControllerRevision](x.revisions, set))
	history.release = nil
	if err := claimObjects(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), history, set, setReference(set), fresh); err != nil {
		return nil, nil, err
	}
	isMember := func(p *corev1.Pod) bool {
		parent, _ := parentAndOrdinal(p)
		return parent == set.Name
	}
	pods := claimOf(set, selector, slices.DeleteFunc(Claimable[*corev1.Pod](x.pods, set), func(p *corev1.Pod) bool {
		return metav1.GetControllerOfNoCopy(p) == nil && !isMember(p)
	}))
	for _, p := range pods.mine {
		if !isMember(p) && p.DeletionTimestamp == nil && set.DeletionTimestamp == nil {
			pods.release = append(pods.release, p)
		}
	}
	pods.mine = slices.DeleteFunc(pods.mine, func(p *corev1.Pod) bool { return !isMember(p) })
	sortRevisions(history.mine)
	return history.mine, pods.mine, claimPods(ctx, t, pods, set, setReference(set), fresh)
}

// settleRevisions finds the revisions of pods as they were and as they are to be. A template that was there before gets its
// revision back, as the latest; a new one gets a new revision.
func (x *statefulSets) settleRevisions(ctx context.Context, t *Turn, set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (current, update *appsv1.ControllerRevision, collisions int32, err error) {
	data, err := revisionData(&set.Spec.Template)
	if err != nil {
		return nil, nil, 0, err
	}
	collisions = ptr.Deref(set.Status.CollisionCount, 0)
	next := int64(1)
	if len(all) > 0 {
		next = all[len(all)-1].Revision + 1
	}
	for _, r := range all {
		if keepsTemplate(r, data) {
			update = r
		}
	}
	switch {
	case update == nil:
		wanted := makeRevision(set, setReference(set), set.Spec.Template.Labels, data, next, collisions)
		update, collisions, err = createRevision(ctx, t, set, wanted, collisions)
	case update != all[len(all)-1]:
		update = update.DeepCopy()
		update.Revision = next
		update, err = Update(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), update)
	}
	if err != nil {
		return nil, nil, collisions, err
	}
	current = update
	for _, r := range all {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}
	return current, update, collisions, nil
}

// dropRevisions deletes those that are no longer of use.
func (x *statefulSets) dropRevisions(ctx context.Context, t *Turn, v *setView, all []*appsv1.ControllerRevision) error {
	used := map[string]bool{v.current.Name: true, v.update.Name: true}
	for _, p := range v.pods {
		used[p.Labels[appsv1.StatefulSetRevisionLabel]] = true
	}
	for _, r := range outdated(all, used, ptr.Deref(v.set.Spec.RevisionHistoryLimit, 10)) {
		if err := Delete(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), r, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// carryOut does what is planned until something fails, and returns how many pods of the current revision went for the
// update.
func (x *statefulSets) carryOut(ctx context.Context, t *Turn, v *setView) (renewed int32, err error) {
	for _, steps := range v.plan() {
		do := func(i int) error { return x.do(ctx, t, v.set, steps[i]) }
		if v.inOrder() {
			for i := range steps {
				if err := do(i); err != nil {
					return 0, err
				}
			}
		} else if _, err := inBatches(len(steps), do); err != nil {
			return 0, err
		}
		for _, s := range steps {
			if s.do == setDeletes && inOrdinals(v.set, s.pod) && isActive(s.pod) && s.pod.Labels[appsv1.StatefulSetRevisionLabel] == v.current.Name {
				renewed++
			}
		}
	}
	return renewed, nil
}

func (x *statefulSets) do(ctx context.Context, t *Turn, set *appsv1.StatefulSet, s memberStep) error {
	switch s.do {
	case setCreates:
		return x.create(ctx, t, set, s.pod)
	case setDeletes:
		err := Delete(ctx, t, t.Client.CoreV1().Pods(t.Namespace), s.pod, metav1.DeleteOptions{})
		return tellSet(t, set, "Delete", s.pod, err)
	case setClaims:
		if err := x.createClaims(ctx, t, set, s.pod); err != nil {
			return err
		}
	case setTends:
		return x.tend(ctx, t, set, s.pod)
	}
	return x.retainClaims(ctx, t, set, s.pod)
}

// create creates a pod after its claims.
func (x *statefulSets) create(ctx context.Context, t *Turn, set *appsv1.StatefulSet, p *corev1.Pod) error {
	if x.claimsAreStale(set, p) {
		return nil // the claims go, and tell so
	}
	err := x.createClaims(ctx, t, set, p)
	if err == nil {
		_, err = Create(ctx, t, t.Client.CoreV1().Pods(t.Namespace), p)
	}
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		return err
	}
	return tellSet(t, set, "Create", p, err)
}

// tend puts right what makes a pod a member of the set.
func (x *statefulSets) tend(ctx context.Context, t *Turn, set *appsv1.StatefulSet, p *corev1.Pod) error {
	named := p.Labels[appsv1.StatefulSetPodNameLabel] == p.Name
	if named && mounts(set, p) {
		return x.retainClaims(ctx, t, set, p)
	}
	changed := p.DeepCopy()
	identify(changed, ordinalOf(p))
	err := x.createClaims(ctx, t, set, p)
	if err == nil {
		if !mounts(set, p) {
			mount(set, changed)
		}
		err = x.retainClaims(ctx, t, set, p)
	}
	if err == nil {
		_, err = Update(ctx, t, t.Client.CoreV1().Pods(t.Namespace), changed)
	}
	return tellSet(t, set, "Update", p, err)
}

// tellSet tells of what was done to a pod, or could not be.
func tellSet(t *Turn, set *appsv1.StatefulSet, verb string, p *corev1.Pod, err error) error {
	if err != nil {
		return t.Failed(set, err, "Failed"+verb, "%s Pod %s in StatefulSet %s failed error: %s", verb, p.Name, set.Name, err)
	}
	t.Event(set, corev1.EventTypeNormal, "Successful"+verb, "%s Pod %s in StatefulSet %s successful", verb, p.Name, set.Name)
	return nil
}
