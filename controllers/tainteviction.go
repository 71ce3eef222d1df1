package controllers

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// taintEviction promises that no pod stays on a node whose NoExecute taints it does not tolerate, and that one which
// tolerates them for a while goes when that is over.
//
// The subtle case is taints that change while a pod's time runs: it does not begin anew, and may only become shorter, until
// there are none of them left.
type taintEviction struct {
	nodes, pods *Source

	mu    sync.Mutex // guards since
	since map[Key]podClock
}

// podClock is when the time of a pod on a tainted node began.
type podClock struct {
	uid  types.UID
	from time.Time
}

func taintEvictionLoop(c *Config) Loop {
	x := &taintEviction{nodes: c.Source(&corev1.Node{}), pods: c.Source(&corev1.Pod{}), since: map[Key]podClock{}}
	return Loop{Watches: []Watch{{x.nodes, x.podsOfTainted}, {x.pods, x.onTainted}}, Reconcile: x.reconcile}
}

// podsOfTainted are the pods of a node whose NoExecute taints may have changed.
func (x *taintEviction) podsOfTainted(old, now metav1.Object) (keys []Key) {
	if now == nil || len(noExecute(now)) == 0 && (old == nil || len(noExecute(old)) == 0) {
		return nil
	}
	for _, pod := range onNode(x.pods, now.GetName()) {
		keys = append(keys, KeyOf(pod))
	}
	return keys
}

// onTainted is a pod on a node with such taints, or one that has gone from it.
func (x *taintEviction) onTainted(old, now metav1.Object) []Key {
	if now == nil {
		x.stop(KeyOf(old))
		return nil
	}
	node := x.nodes.cached(Key{Name: now.(*corev1.Pod).Spec.NodeName})
	if node == nil || len(noExecute(node)) == 0 {
		return nil
	}
	return []Key{KeyOf(now)}
}

func noExecute(node metav1.Object) (taints []corev1.Taint) {
	for _, t := range node.(*corev1.Node).Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			taints = append(taints, t)
		}
	}
	return taints
}

func (x *taintEviction) reconcile(ctx context.Context, t *Turn) error {
	pod, _ := x.pods.cached(t.Key).(*corev1.Pod)
	if pod == nil || pod.DeletionTimestamp != nil {
		x.stop(t.Key)
		return nil
	}
	node, _ := x.nodes.cached(Key{Name: pod.Spec.NodeName}).(*corev1.Node)
	if node == nil {
		return nil
	}
	stay, limited := toleratedFor(noExecute(node), pod.Spec.Tolerations)
	if !limited {
		if x.stop(t.Key) {
			t.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", t.Key)
		}
		return nil
	}
	if rest := x.start(t, pod).Add(stay).Sub(t.Now); stay > 0 && rest > 0 {
		t.Again(rest)
		return nil
	}
	t.Event(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", t.Key)
	x.stop(t.Key)
	return evictTainted(ctx, t, pod)
}

// start is when the pod's time began: now, if it has not.
func (x *taintEviction) start(t *Turn, pod *corev1.Pod) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c, runs := x.since[t.Key]; runs && c.uid == pod.UID {
		return c.from
	}
	x.since[t.Key] = podClock{pod.UID, t.Now}
	return t.Now
}

// stop ends the pod's time, and reports whether it ran.
func (x *taintEviction) stop(k Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ran := x.since[k]
	delete(x.since, k)
	return ran
}

// toleratedFor is how long taints are tolerated, at once if one is not at all; limited is false if it is for ever.
func toleratedFor(taints []corev1.Taint, tolerations []corev1.Toleration) (stay time.Duration, limited bool) {
	for i := range taints {
		tolerated := false
		for j := range tolerations {
			if !toleratesTaint(&tolerations[j], &taints[i]) {
				continue
			}
			tolerated = true
			if s := tolerations[j].TolerationSeconds; s != nil {
				d := max(0, time.Duration(*s)*time.Second)
				if !limited || d < stay {
					stay, limited = d, true
				}
			}
			break // the first that fits counts
		}
		if !tolerated {
			return 0, true
		}
	}
	return stay, limited
}

func toleratesTaint(o *corev1.Toleration, t *corev1.Taint) bool {
	if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
		return false
	}
	return o.Operator == corev1.TolerationOpExists || (o.Operator == "" || o.Operator == corev1.TolerationOpEqual) && o.Value == t.Value
}

// evictTainted says why the pod goes, and deletes it.
func evictTainted(ctx context.Context, t *Turn, pod *corev1.Pod) error {
	if c := podCondition(pod, corev1.DisruptionTarget); c == nil || c.Status != corev1.ConditionTrue || c.Reason != "DeletionByTaintManager" {
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", ObservedGeneration: pod.Generation,
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(t.Now)}}}})
		if err != nil {
			return err
		}
		if _, err := Patch(ctx, t, t.Client.CoreV1().Pods(pod.Namespace), pod.Name, types.StrategicMergePatchType, body, "status"); err != nil {
			return goneAlready(err)
		}
	}
	return Delete(ctx, t, t.Client.CoreV1().Pods(pod.Namespace), pod, metav1.DeleteOptions{})
}
