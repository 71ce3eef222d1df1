package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// podGarbage promises that no pod stays that nobody looks after: one that is going and never had a node, one whose node is
// gone, one that is going on a node that is out of service, and the oldest of those that have ended when there are very many.
//
// A node that is missing may not have been seen yet: its pods are let be for a while, and then the API is asked for it.
type podGarbage struct {
	pods, nodes *Source
	kept        int // of those that have ended; below zero, all

	mu      sync.Mutex           // guards missing
	missing map[string]time.Time // nodes that the cache has not, since it was noticed
}

const (
	podGarbageCheck = 20 * time.Second
	nodeQuarantine  = 40 * time.Second
	endedPodsKept   = 12_500
)

func podGarbageLoop(c *Config) Loop {
	x := &podGarbage{pods: c.Source(&corev1.Pod{}), nodes: c.Source(&corev1.Node{}), kept: cmp.Or(c.EndedPodsKept, endedPodsKept), missing: map[string]time.Time{}}
	return Loop{
		Watches:   []Watch{{x.pods, x.neglected}, {x.nodes, x.neglectedOn}},
		Reconcile: x.reconcile,
		First:     []Key{{}}, // stands for all that have ended
	}
}

// fate is what is to be done about a pod.
type fate int

const (
	podStays fate = iota
	podGoes
	podHasNoNode // unless the API has it
)

// fateOf is what is to be done about a pod on a node, which is nil if it is not in the cache.
func fateOf(p *corev1.Pod, node *corev1.Node) fate {
	switch {
	case finished(p) && p.DeletionTimestamp != nil && ptr.Deref(p.DeletionGracePeriodSeconds, 1) == 0:
		return podStays // all has been done: finalizers hold it
	case p.Spec.NodeName == "" && p.DeletionTimestamp != nil:
		return podGoes
	case p.Spec.NodeName == "":
		return podStays
	case node == nil:
		return podHasNoNode
	case p.DeletionTimestamp != nil && outOfService(node):
		return podGoes
	}
	return podStays
}

// outOfService reports that a node is down and that somebody has said it will not come back as it was.
func outOfService(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

func (x *podGarbage) nodeOf(p *corev1.Pod) *corev1.Node {
	n, _ := x.nodes.cached(Key{Name: p.Spec.NodeName}).(*corev1.Node)
	return n
}

func (x *podGarbage) neglected(_, now metav1.Object) []Key {
	if now == nil || fateOf(now.(*corev1.Pod), x.nodeOf(now.(*corev1.Pod))) == podStays {
		return nil
	}
	return []Key{KeyOf(now)}
}

// neglectedOn are the pods of a node that is gone or may be out of service.
func (x *podGarbage) neglectedOn(old, now metav1.Object) (keys []Key) {
	if now != nil {
		x.found(now.GetName())
		if !outOfService(now.(*corev1.Node)) {
			return nil
		}
	}
	node := itself(old, now)[0].Name
	for _, o := range x.pods.all("") {
		if o.(*corev1.Pod).Spec.NodeName == node {
			keys = append(keys, KeyOf(o))
		}
	}
	return keys
}

func (x *podGarbage) reconcile(ctx context.Context, t *Turn) error {
	if t.Key == (Key{}) {
		return x.thinOut(ctx, t)
	}
	p, there := x.pods.cached(t.Key).(*corev1.Pod)
	if !there {
		return nil
	}
	switch fateOf(p, x.nodeOf(p)) {
	case podGoes:
		return failAndDelete(ctx, t, p, nil)
	case podHasNoNode:
		if rest := nodeQuarantine - t.Now.Sub(x.missingSince(p.Spec.NodeName, t.Now)); rest > 0 {
			t.Again(rest)
			return nil
		}
		_, err := t.Client.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			t.Again(nodeQuarantine)
			return err
		}
		return failAndDelete(ctx, t, p, &corev1.PodCondition{Type: corev1.DisruptionTarget, ObservedGeneration: p.Generation, Status: corev1.ConditionTrue,
			Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists"})
	}
	return nil
}

func (x *podGarbage) missingSince(node string, now time.Time) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, known := x.missing[node]; !known {
		x.missing[node] = now
	}
	return x.missing[node]
}

func (x *podGarbage) found(node string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.missing, node)
}

// thinOut deletes pods that have ended, so that no more are left than are kept, and forgets missing nodes that nobody
// refers to.
func (x *podGarbage) thinOut(ctx context.Context, t *Turn) error {
	t.Again(podGarbageCheck)
	pods := x.pods.all("")
	kept := x.kept
	if kept < 0 {
		kept = len(pods)
	}
	surplus := surplusPods(pods, kept)
	x.forgetNodes(pods)
	return eachOf(len(surplus), func(i int) error { return failAndDelete(ctx, t, surplus[i], nil) })
}

func (x *podGarbage) forgetNodes(pods []metav1.Object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.missing) == 0 {
		return
	}
	wanted := map[string]bool{}
	for _, o := range pods {
		wanted[o.(*corev1.Pod).Spec.NodeName] = true
	}
	for node := range x.missing {
		if !wanted[node] {
			delete(x.missing, node)
		}
	}
}

// surplusPods are those of the pods that have ended that are to go for no more than some to be left: evicted ones first,
// the oldest first.
func surplusPods(pods []metav1.Object, kept int) []*corev1.Pod {
	var ended []*corev1.Pod
	for _, o := range pods {
		p := o.(*corev1.Pod)
		if !slices.Contains([]corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodUnknown}, p.Status.Phase) {
			ended = append(ended, p)
		}
	}
	if len(ended) <= kept {
		return nil
	}
	evicted := func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" }
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(compareBools(!evicted(a), !evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return ended[:len(ended)-kept]
}

// failAndDelete says that a pod has failed, as no node will, and deletes it at once.
func failAndDelete(ctx context.Context, t *Turn, p *corev1.Pod, why *corev1.PodCondition) error {
	pods := t.Client.CoreV1().Pods(p.Namespace)
	if !finished(p) {
		_, err := Patch[*corev1.Pod](ctx, t, pods, p.Name, types.StrategicMergePatchType, failurePatch(p, why, t.Now), "status")
		if err != nil {
			return goneAlready(err)
		}
	}
	return Delete(ctx, t, pods, p, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
}

// failurePatch makes the very pod a failed one.
func failurePatch(p *corev1.Pod, why *corev1.PodCondition, now time.Time) []byte {
	status := map[string]any{}
	if why != nil {
		c := *why
		c.LastTransitionTime = metav1.Time{Time: now}
		if before := podCondition(p, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
		status = conditionPatch(p, c)
	}
	status["phase"], status["observedGeneration"] = corev1.PodFailed, p.Generation
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		panic(err) // it is plain data
	}
	return body
}
