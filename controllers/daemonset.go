package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/ptr"
)

// daemonSets promises one pod on each node that fits. An update replaces pods in place, no more than so many nodes at a
// time, or surges: the new pod comes before the old one goes.
//
// The subtle case is a node that cannot have the pod now but may keep the one it has: it was tainted after the pod came.
type daemonSets struct {
	lister    appslisters.DaemonSetLister
	nodes     corelisters.NodeLister
	pods      *Source
	revisions *Source
	numbers   *podNumbers

	mu     sync.Mutex // guards failed
	failed map[daemonPlace]daemonFailures
}

// daemonPlace is a node as a DaemonSet in one generation sees it.
type daemonPlace struct {
	uid        types.UID
	generation int64
	node       string
}

// daemonFailures are how long the next failed pod of a place stays, and since when.
type daemonFailures struct {
	backoff time.Duration
	since   time.Time
}

const (
	firstDaemonBackoff = time.Second
	lastDaemonBackoff  = 15 * time.Minute
	// daemonBurst is how many pods come or go in one turn at most.
	daemonBurst = 250
)

func newDaemonSets(c *Config) Loop {
	x := &daemonSets{lister: c.Informers.Apps().V1().DaemonSets().Lister(), nodes: c.Informers.Core().V1().Nodes().Lister(),
		pods: c.Source(&corev1.Pod{}), revisions: c.Source(&appsv1.ControllerRevision{}), failed: map[daemonPlace]daemonFailures{}}
	x.numbers = newPodNumbers("DaemonSet", c.Source(&appsv1.DaemonSet{}), targetOf)
	return Loop{
		Watches:   []Watch{{c.Source(&appsv1.DaemonSet{}), x.changed}, {x.pods, x.ofPod}, {x.revisions, x.touched}, {c.Source(&corev1.Node{}), x.concerned}},
		Reconcile: x.reconcile,
	}
}

func (x *daemonSets) changed(old, now metav1.Object) []Key {
	if now == nil {
		x.numbers.forget(old.GetUID())
		x.mu.Lock()
		defer x.mu.Unlock()
		maps.DeleteFunc(x.failed, func(p daemonPlace, _ daemonFailures) bool { return p.uid == old.GetUID() })
	}
	return itself(old, now)
}

// touched are the DaemonSets whose revisions somebody has changed or deleted. Those that are new with an owner have been
// made on its behalf: as upstream, what they are is looked at in the next turn that has another reason.
func (x *daemonSets) touched(old, now metav1.Object) []Key {
	if old == nil && metav1.GetControllerOfNoCopy(now) != nil {
		return nil
	}
	return x.setsOf(old, now)
}

func (x *daemonSets) ofPod(old, now metav1.Object) []Key {
	x.numbers.saw(old, now)
	return x.setsOf(old, now)
}

// setsOf are the DaemonSets that a change of a pod or a revision concerns.
func (x *daemonSets) setsOf(old, now metav1.Object) []Key {
	return ownersOrMatching("DaemonSet", old, now, func(o metav1.Object) []Key {
		sets, _ := x.lister.DaemonSets(o.GetNamespace()).List(labels.Everything()) // a cache does not fail
		return selecting(o, sets, func(ds *appsv1.DaemonSet) *metav1.LabelSelector { return ds.Spec.Selector })
	})
}

// concerned are the DaemonSets for which a node fits in another way than before.
func (x *daemonSets) concerned(old, now metav1.Object) (keys []Key) {
	before, _ := old.(*corev1.Node)
	after, _ := now.(*corev1.Node)
	if before != nil && after != nil && equality.Semantic.DeepEqual(before.Labels, after.Labels) && equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints) {
		return nil
	}
	fit := func(ds *appsv1.DaemonSet, node *corev1.Node) daemonFit {
		if node == nil {
			return daemonFit{}
		}
		return fitOf(ds, node)
	}
	sets, _ := x.lister.List(labels.Everything()) // a cache does not fail
	for _, ds := range sets {
		if fit(ds, before) != fit(ds, after) {
			keys = append(keys, KeyOf(ds))
		}
	}
	return keys
}

func (x *daemonSets) reconcile(ctx context.Context, t *Turn) error {
	ds, err := x.lister.DaemonSets(t.Namespace).Get(t.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case ds.DeletionTimestamp != nil:
		return nil // what its revisions are cannot be told any more
	}
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil || selector.Empty() {
		t.Event(ds, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return nil
	}
	// 1. Whose pods and revisions are whose, and which revision is wanted?
	version := x.numbers.version(ds.UID)
	revisions, pods, err := x.claim(ctx, t, ds, selector)
	if err != nil {
		return err
	}
	if ds.Status.ObservedGeneration == 0 && mayInherit(x.pods, ds, "DaemonSet", selector) {
		if behind, err := t.Behind(ctx, x.pods); behind || err != nil {
			return err
		}
	}
	current, former, err := x.settleRevision(ctx, t, ds, revisions, pods)
	if err != nil {
		return fmt.Errorf("failed to construct revisions of DaemonSet: %w", err)
	}
	nodes, _ := x.nodes.List(labels.Everything()) // a cache does not fail
	v := viewDaemons(ds, current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], nodes, pods, t.Now)
	v.held = func(node string) time.Duration { return x.held(ds, node, t.Now) }
	// 2. Which pods come and go?
	problem := x.carryOut(ctx, t, v, v.plan(), podsSeen{pods, version})
	if problem == nil {
		problem = x.dropRevisions(ctx, t, ds, former, pods)
	}
	// 3. What is it like now?
	status, next := v.status()
	if next > 0 {
		t.Again(next)
	}
	if !equality.Semantic.DeepEqual(ds.Status, status) {
		changed := ds.DeepCopy()
		changed.Status = status
		if _, err := UpdateStatus(ctx, t, t.Client.AppsV1().DaemonSets(t.Namespace), changed); err != nil {
			return errors.Join(problem, err)
		}
	}
	return problem
}

func (x *daemonSets) claim(ctx context.Context, t *Turn, ds *appsv1.DaemonSet, selector labels.Selector) ([]*appsv1.ControllerRevision, []*corev1.Pod, error) {
	fresh := func(ctx context.Context) (metav1.Object, error) {
		return t.Client.AppsV1().DaemonSets(t.Namespace).Get(ctx, ds.Name, metav1.GetOptions{})
	}
	history := claimOf(ds, selector, Claimable[*appsv1.ControllerRevision](x.revisions, ds))
	if err := claimObjects(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), history, ds, daemonReference(ds), fresh); err != nil {
		return nil, nil, err
	}
	sortRevisions(history.mine)
	pods := claimOf(ds, selector, Claimable[*corev1.Pod](x.pods, ds))
	return history.mine, pods.mine, claimPods(ctx, t, pods, ds, daemonReference(ds), fresh)
}

// settleRevision finds the revision of the template, makes it the latest, or makes a new one. former are all others.
func (x *daemonSets) settleRevision(ctx context.Context, t *Turn, ds *appsv1.DaemonSet, all []*appsv1.ControllerRevision, pods []*corev1.Pod) (current *appsv1.ControllerRevision, former []*appsv1.ControllerRevision, err error) {
	data, err := revisionData(&ds.Spec.Template)
	if err != nil {
		return nil, nil, err
	}
	client := t.Client.AppsV1().ControllerRevisions(t.Namespace)
	next := int64(1)
	var same []*appsv1.ControllerRevision
	for _, r := range all {
		if keepsTemplate(r, data) {
			same = append(same, r)
			continue
		}
		former = append(former, r)
		next = max(next, r.Revision+1)
	}
	if len(same) == 0 {
		current, err = x.snapshot(ctx, t, ds, data, next)
		return current, former, err
	}
	current = same[len(same)-1]
	if hash := current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]; hash == "" || current.Revision < next {
		current = current.DeepCopy()
		if hash == "" {
			setEntry(&current.Labels, appsv1.DefaultDaemonSetUniqueLabelKey, current.Name)
		}
		current.Revision = max(current.Revision, next)
		if current, err = Update(ctx, t, client, current); err != nil {
			return nil, nil, err
		}
	}
	return current, former, x.mergeRevisions(ctx, t, current, same[:len(same)-1], pods)
}

// mergeRevisions leaves one revision of those that keep the same template: pods of the others become its own.
func (x *daemonSets) mergeRevisions(ctx context.Context, t *Turn, into *appsv1.ControllerRevision, same []*appsv1.ControllerRevision, pods []*corev1.Pod) error {
	hash := into.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	for _, r := range same {
		for _, p := range pods {
			if own := p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]; own == "" || own != r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] {
				continue
			}
			patch := metadataPatch(map[string]any{"labels": map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: hash}})
			if _, err := Patch[*corev1.Pod](ctx, t, t.Client.CoreV1().Pods(t.Namespace), p.Name, types.MergePatchType, patch); err != nil {
				return err
			}
		}
		if err := Delete(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), r, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// snapshot creates the revision of the template. If its name is taken by another template the status remembers that, and the
// next turn has another name.
func (x *daemonSets) snapshot(ctx context.Context, t *Turn, ds *appsv1.DaemonSet, data []byte, number int64) (*appsv1.ControllerRevision, error) {
	hash := templateHash(&ds.Spec.Template, ds.Status.CollisionCount)
	r := &appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: data}, Revision: number,
		ObjectMeta: metav1.ObjectMeta{Namespace: ds.Namespace, Name: ds.Name + "-" + hash, Labels: maps.Clone(ds.Spec.Template.Labels),
			Annotations: maps.Clone(ds.Annotations), OwnerReferences: []metav1.OwnerReference{daemonReference(ds)}}}
	setEntry(&r.Labels, appsv1.DefaultDaemonSetUniqueLabelKey, hash)
	client := t.Client.AppsV1().ControllerRevisions(t.Namespace)
	made, err := Create(ctx, t, client, r)
	if !apierrors.IsAlreadyExists(err) {
		return made, err
	}
	there, getErr := client.Get(ctx, r.Name, metav1.GetOptions{})
	if getErr != nil {
		return nil, getErr
	}
	if bytes.Equal(there.Data.Raw, data) {
		return there, nil
	}
	changed := ds.DeepCopy()
	changed.Status.CollisionCount = ptr.To(ptr.Deref(ds.Status.CollisionCount, 0) + 1)
	_, updateErr := UpdateStatus(ctx, t, t.Client.AppsV1().DaemonSets(t.Namespace), changed)
	return nil, errors.Join(err, updateErr)
}

// dropRevisions deletes the oldest former revisions that no pod has, so that as many stay as are wanted.
func (x *daemonSets) dropRevisions(ctx context.Context, t *Turn, ds *appsv1.DaemonSet, former []*appsv1.ControllerRevision, pods []*corev1.Pod) error {
	surplus := len(former) - int(ptr.Deref(ds.Spec.RevisionHistoryLimit, 10))
	for _, r := range former {
		inUse := slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
		})
		if surplus <= 0 || inUse {
			continue
		}
		if err := Delete(ctx, t, t.Client.AppsV1().ControllerRevisions(t.Namespace), r, metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("failed to clean up revisions of DaemonSet: %w", err)
		}
		surplus--
	}
	return nil
}

func (x *daemonSets) carryOut(ctx context.Context, t *Turn, v *daemonView, p daemonPlan, seen podsSeen) error {
	for _, n := range p.tell {
		t.Event(v.ds, n.kind, n.reason, "%s", n.message)
	}
	for _, node := range p.failed {
		x.fails(v.ds, node, t.Now)
	}
	if p.again > 0 {
		t.Again(p.again)
	}
	create := p.create[:min(len(p.create), daemonBurst)]
	_, problem := createPods(ctx, t, v.ds, x.numbers, seen, len(create), func(i int) *corev1.Pod { return newDaemon(v.ds, create[i], v.hash) })
	return errors.Join(problem, deletePods(ctx, t, v.ds, p.remove[:min(len(p.remove), daemonBurst)]))
}

func placeOf(ds *appsv1.DaemonSet, node string) daemonPlace {
	return daemonPlace{ds.UID, ds.Status.ObservedGeneration, node}
}

// held is how long a failed pod has to stay yet.
func (x *daemonSets) held(ds *appsv1.DaemonSet, node string, now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.failed[placeOf(ds, node)]
	return max(0, f.backoff-now.Sub(f.since))
}

// fails makes the next failed pod of a node stay for longer, unless the last one was long ago.
func (x *daemonSets) fails(ds *appsv1.DaemonSet, node string, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.failed, func(_ daemonPlace, f daemonFailures) bool { return now.Sub(f.since) > 2*lastDaemonBackoff })
	place := placeOf(ds, node)
	x.failed[place] = daemonFailures{min(max(2*x.failed[place].backoff, firstDaemonBackoff), lastDaemonBackoff), now}
}
