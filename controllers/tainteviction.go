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
// The subtle case is taints or tolerations that change while a pod's time runs: it does not begin anew, and ends neither sooner nor later, until
// the pod tolerates all of them for ever, or one of them not at all.
type taintEviction struct {
	nodes, pods *Source

	mu    sync.Mutex // guards stays
	stays map[Key]stay
}

// stay is the time of a pod on a tainted node.
type stay struct {
	uid  types.UID
	ends time.Time
	told bool // that the pod is sent away
}

func taintEvictionLoop(c *Config) Loop {
	x := &taintEviction{nodes: c.Source(&corev1.Node{}), pods: c.Source(&corev1.Pod{}), stays: map[Key]stay{}}
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

// onTainted is a pod on a node with such taints, or one that has gone while its time ran.
func (x *taintEviction) onTainted(old, now metav1.Object) []Key {
	if now == nil {
		if x.stayOf(KeyOf(old)) == nil {
			return nil
		}
		return []Key{KeyOf(old)}
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
	was := x.stayOf(t.Key)
	is, cancelled := x.plan(was, pod, t.Now)
	x.set(t.Key, is)
	if cancelled {
		t.Event(podReference(t.Key), corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", t.Key)
	}
	switch {
	case is == nil, is.told && pod.DeletionTimestamp != nil:
		return nil
	case is.ends.After(t.Now):
		t.Again(is.ends.Sub(t.Now))
		return nil
	case !is.told:
		t.Event(podReference(t.Key), corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", t.Key)
		x.set(t.Key, &stay{uid: is.uid, ends: is.ends, told: true})
	}
	return evictTainted(ctx, t, pod)
}

// plan decides how long a pod may stay where it is. Without a node there are no taints any more, but the time of its pods runs on.
func (x *taintEviction) plan(was *stay, pod *corev1.Pod, now time.Time) (is *stay, cancelled bool) {
	if pod == nil {
		return planStay(was, "", 0, false, now)
	}
	node, _ := x.nodes.cached(Key{Name: pod.Spec.NodeName}).(*corev1.Node)
	if node == nil && was != nil && was.uid == pod.UID {
		return was, false
	} else if node == nil {
		return planStay(was, pod.UID, 0, false, now)
	}
	tolerated, limited := toleratedFor(noExecute(node), pod.Spec.Tolerations)
	return planStay(was, pod.UID, tolerated, limited, now)
}

// planStay decides how long a pod may stay, which tolerates its node's taints for a while if that is limited, and whether the time that ran
// is called off. was and is are nil if no time runs.
func planStay(was *stay, uid types.UID, tolerated time.Duration, limited bool, now time.Time) (is *stay, cancelled bool) {
	runs := was != nil && !was.told
	switch same := was != nil && was.uid == uid; {
	case !limited:
		return nil, runs
	case same && (was.told || tolerated > 0 || !was.ends.After(now)):
		return was, false
	}
	return &stay{uid: uid, ends: now.Add(tolerated)}, runs
}

// stayOf is a copy of what is known of a pod's time; nil if none runs.
func (x *taintEviction) stayOf(k Key) *stay {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s, runs := x.stays[k]; runs {
		return &s
	}
	return nil
}

func (x *taintEviction) set(k Key, s *stay) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s == nil {
		delete(x.stays, k)
		return
	}
	x.stays[k] = *s
}

// podReference is a pod as events name it that may be gone.
func podReference(k Key) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: k.Namespace, Name: k.Name}
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
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": conditionPatch(pod, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", ObservedGeneration: pod.Generation,
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(t.Now)})})
		if err != nil {
			return err
		}
		if _, err := Patch(ctx, t, t.Client.CoreV1().Pods(pod.Namespace), pod.Name, types.StrategicMergePatchType, body, "status"); err != nil {
			return goneAlready(err)
		}
	}
	return Delete(ctx, t, t.Client.CoreV1().Pods(pod.Namespace), pod, metav1.DeleteOptions{})
}
