package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	topology "k8s.io/component-helpers/node/topology"
)

// nodeLifecycle promises that a node from which nothing is heard for the grace period is Unknown, that its pods are no
// longer ready then, and that each node has the taints that its conditions mean: NoSchedule at once, NoExecute (by which
// its pods are moved) at the pace that its zone allows.
//
// The subtle case is many silent nodes at a time: the network is more likely to be broken than they are. See zonePace.
//
// What is heard of a node is counted from when it was heard here: clocks of nodes may be wrong.
type nodeLifecycle struct {
	nodes, leases, pods *Source
	grace               time.Duration
	evictions           *prometheus.CounterVec

	mu    sync.Mutex // guards the fields below
	heard map[string]heartbeat
	zones map[string]time.Time // when the next node of a zone may be tainted
}

// heartbeat is what was heard of a node last.
type heartbeat struct {
	uid    types.UID
	status metav1.Time      // of its Ready condition
	lease  metav1.MicroTime // of its Lease
	at     time.Time
	untold silence
}

// silence is what has to be said of a node that is not ready, and has not been said yet. A kubelet that says itself that its node is not
// ready speaks for its pods as well.
type silence int

const (
	nothingUntold silence = iota
	podsUntold            // its pods are not ready: it was like that when this controller began
	nodeUntold            // neither is it
)

const (
	nodeGrace        = 50 * time.Second
	nodeStartupGrace = 60 * time.Second
)

func nodeLifecycleLoop(c *Config) Loop {
	x := nodeLifecycleOf(c)
	c.measures(x.evictions)
	return Loop{Watches: []Watch{{x.nodes, itself}, {x.leases, nodeOfLease}}, Reconcile: x.reconcile}
}

func nodeLifecycleOf(c *Config) *nodeLifecycle {
	return &nodeLifecycle{nodes: c.Source(&corev1.Node{}), leases: c.Source(&coordinationv1.Lease{}), pods: c.Source(&corev1.Pod{}),
		grace: cmp.Or(c.NodeGrace, nodeGrace), heard: map[string]heartbeat{}, zones: map[string]time.Time{},
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: "node_collector", Name: "evictions_total",
			Help: "Nodes whose pods were sent away since the controllers began, by zone."}, []string{"zone"})}
}

func nodeOfLease(_, now metav1.Object) []Key {
	if now == nil || now.GetNamespace() != corev1.NamespaceNodeLease {
		return nil
	}
	return []Key{{Name: now.GetName()}}
}

func (x *nodeLifecycle) reconcile(ctx context.Context, t *Turn) error {
	cached := x.nodes.cached(t.Key)
	if cached == nil {
		x.forget(t)
		return nil
	}
	node := cached.(*corev1.Node)
	// 1. How long has it been silent?
	h := x.listen(t, node)
	grace := x.grace
	if nodeCondition(node, corev1.NodeReady) == nil {
		grace = nodeStartupGrace
	}
	if silent := t.Now.Sub(h.at); silent > grace {
		if changed := nodeUnknown(node, t.Now); changed != nil {
			if nodeReady(node) {
				x.tellLater(node, nodeUntold)
			}
			_, err := UpdateStatus(ctx, t, t.Client.CoreV1().Nodes(), changed)
			return err // what follows is done when the change is seen
		}
	} else {
		t.Again(grace - silent + time.Second)
	}
	// 2. Its taints and labels are what its conditions and its other labels mean.
	taints := conditionTaints(node, t.Now)
	evicting, wait := x.evictionTaints(t, node)
	if wait > 0 {
		t.Again(wait)
	}
	if err := patchNodeTaints(ctx, t, node, append(taints, evicting...)); err != nil {
		return err
	}
	zone := x.evictions.WithLabelValues(topology.GetZoneKey(node))
	if len(evicting) > 0 && !isEvicting(node) {
		zone.Inc()
	}
	// 3. Its pods are not ready when it is not.
	return x.tellPods(ctx, t, node, h)
}

// listen notes what is new of a node.
func (x *nodeLifecycle) listen(t *Turn, node *corev1.Node) heartbeat {
	x.mu.Lock()
	defer x.mu.Unlock()
	h, known := x.heard[node.Name]
	if h.uid != node.UID {
		t.Event(nodeReference(node), corev1.EventTypeNormal, "RegisteredNode", "Node %[1]s event: Registered Node %[1]s in Controller", node.Name)
		h, known = heartbeat{uid: node.UID, untold: untoldAtFirst(node)}, false
	}
	now := h
	ready := nodeCondition(node, corev1.NodeReady)
	if ready != nil {
		now.status = ready.LastHeartbeatTime
	}
	if lease, ok := x.leases.cached(Key{corev1.NamespaceNodeLease, node.Name}).(*coordinationv1.Lease); ok && lease.Spec.RenewTime != nil {
		now.lease = *lease.Spec.RenewTime
	}
	switch {
	case !known && ready == nil:
		now.at = node.CreationTimestamp.Time
	case !known, !now.status.Equal(&h.status), h.lease.Before(&now.lease):
		now.at = t.Now
	}
	if nodeReady(node) {
		now.untold = nothingUntold
	}
	x.heard[node.Name] = now
	return now
}

func (x *nodeLifecycle) forget(t *Turn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h, known := x.heard[t.Name]; known {
		t.Event(nodeReference(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: t.Name, UID: h.uid}}), corev1.EventTypeNormal, "RemovingNode", "Node %[1]s event: Removing Node %[1]s from Controller", t.Name)
		delete(x.heard, t.Name)
	}
}

// nodeReference is a node as events name it.
func nodeReference(node *corev1.Node) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
}

func nodeCondition(node *corev1.Node, of corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == of {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// nodeUnknown is a node of which nothing is known any more; nil if it is that already.
func nodeUnknown(node *corev1.Node, now time.Time) *corev1.Node {
	changed := node.DeepCopy()
	at := metav1.NewTime(now)
	for _, of := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := nodeCondition(changed, of)
		switch {
		case c == nil:
			changed.Status.Conditions = append(changed.Status.Conditions, corev1.NodeCondition{Type: of, Status: corev1.ConditionUnknown,
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.", LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: at})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message, c.LastTransitionTime = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.", at
		}
	}
	if equality.Semantic.DeepEqual(node.Status.Conditions, changed.Status.Conditions) {
		return nil
	}
	return changed
}

// untoldAtFirst is what has to be said of a node that this controller has not seen before.
func untoldAtFirst(node *corev1.Node) silence {
	if nodeReady(node) || nodeCondition(node, corev1.NodeReady) == nil {
		return nothingUntold
	}
	return podsUntold
}

// tellLater notes what is to be said of a node, or that it has been.
func (x *nodeLifecycle) tellLater(node *corev1.Node, what silence) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.heard[node.Name]; h.uid == node.UID {
		h.untold = what
		x.heard[node.Name] = h
	}
}

// tellPods makes the pods of a node that has fallen silent not ready, once.
func (x *nodeLifecycle) tellPods(ctx context.Context, t *Turn, node *corev1.Node, h heartbeat) error {
	if h.untold == nothingUntold {
		return nil
	}
	if h.untold == nodeUntold {
		t.Event(nodeReference(node), corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: %s", node.Name, "NodeNotReady")
		x.tellLater(node, podsUntold)
	}
	for _, pod := range onNode(x.pods, node.Name) {
		if !isReady(pod) {
			continue
		}
		changed := pod.DeepCopy()
		c := podCondition(changed, corev1.PodReady)
		c.Status, c.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(t.Now)
		if _, err := UpdateStatus(ctx, t, t.Client.CoreV1().Pods(pod.Namespace), changed); goneAlready(err) != nil {
			return err
		}
		t.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	x.tellLater(node, nothingUntold)
	return nil
}

// patchNodeTaints gives a node the taints that this controller keeps, beside those of others, and the labels of old names.
func patchNodeTaints(ctx context.Context, t *Turn, node *corev1.Node, want []corev1.Taint) error {
	taints, labels := mergeTaints(node.Spec.Taints, want), oldNodeLabels(node)
	if slices.EqualFunc(taints, node.Spec.Taints, func(a, b corev1.Taint) bool { return equality.Semantic.DeepEqual(a, b) }) && len(labels) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion, "uid": node.UID, "labels": labels},
		"spec":     map[string]any{"taints": taints},
	})
	if err != nil {
		return err
	}
	_, err = Patch(ctx, t, t.Client.CoreV1().Nodes(), node.Name, types.MergePatchType, body)
	return goneAlready(err)
}

// oldNodeLabels are the labels for system and architecture under their old names, where they are missing or differ.
func oldNodeLabels(node *corev1.Node) map[string]string {
	labels := map[string]string{}
	for old, stable := range map[string]string{"beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable} {
		if is, ok := node.Labels[stable]; ok && node.Labels[old] != is {
			labels[old] = is
		}
	}
	return labels
}
