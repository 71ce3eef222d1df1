package chaos

import (
	"context"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// told waits for an event, and returns its message.
func (w *world) told(reason, kind, source string) string {
	w.Helper()
	var message string
	w.insist("an event "+reason, func(ctx context.Context) error {
		events, err := w.client.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.kind=" + kind})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Source.Component == source {
				message = e.Message
				return nil
			}
		}
		return errLost
	})
	return message
}

func nodeNamed(s state, name string) *corev1.Node {
	for _, n := range of[*corev1.Node](s) {
		if n.Name == name {
			return n
		}
	}
	return &corev1.Node{}
}

func podsOn(s state, node string) []*corev1.Pod {
	return slices.DeleteFunc(podsIn(s), func(p *corev1.Pod) bool { return p.Spec.NodeName != node })
}

// TestNodesThatAreLost silences a node, and then deletes the objects of two under their pods. Clocks go thirty times as fast as
// others: a node is Unknown after two seconds and its pods are moved after ten.
func TestNodesThatAreLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock = faster(30)
	o := w.observed()
	w.wholeCluster(2)
	x := &workload{resource: "deployments", name: "web", make: func(name string) runtime.Object {
		d := deployment(nil)(name).(*appsv1.Deployment)
		d.Spec.Replicas = ptr.To[int32](4)
		return d
	}}
	w.create(x)
	w.await(o, "the pods run", func(s state) bool { return len(ready(podsIn(s))) == 4 })
	silent, deleted := "node-1", "node-2"
	agents := map[string]*part{silent: w.parts[2], deleted: w.parts[3]}
	o.look(func(s state) {
		if len(podsOn(s, silent)) == 0 { // the other was there first
			silent, deleted = deleted, silent
		}
	})
	// 1. Silence: Unknown, tainted, its pods not ready, and moved when they have tolerated it for long enough.
	agents[silent].kill()
	w.await(o, "the silent node is Unknown and tainted", func(s state) bool {
		n := nodeNamed(s, silent)
		return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown && c.Reason == "NodeStatusUnknown" && c.Message == "Kubelet stopped posting node status."
		}) && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
			return t.Key == corev1.TaintNodeUnreachable && t.Effect == corev1.TaintEffectNoExecute
		}) && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
			return t.Key == corev1.TaintNodeUnreachable && t.Effect == corev1.TaintEffectNoSchedule
		}) && len(ready(podsOn(s, silent))) == 0
	})
	w.await(o, "its pods run on the other node, and are going on their own", func(s state) bool {
		return len(ready(podsOn(s, deleted))) == 4 && !slices.ContainsFunc(podsOn(s, silent), isActive)
	})
	o.look(func(s state) {
		for _, p := range podsOn(s, silent) {
			if i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }); i < 0 || p.Status.Conditions[i].Reason != "DeletionByTaintManager" {
				t.Errorf("pod %s does not say why it goes: %+v", p.Name, p.Status.Conditions)
			}
		}
	})
	if is, want := w.told("NodeNotReady", "Node", "node-controller"), "Node "+silent+" status is now: NodeNotReady"; is != want {
		t.Errorf("the event says %q, not %q", is, want)
	}
	w.told("TaintManagerEviction", "Pod", "taint-eviction-controller")
	// 2. The object of the silent node is deleted: nothing is left of its pods.
	w.deleteNode(silent)
	w.await(o, "the pods of a node that is gone are gone", func(s state) bool { return len(podsOn(s, silent)) == 0 })
	// 3. The object of a node is deleted under pods that run: they go, and their replacements wait for a node.
	agents[deleted].kill()
	w.deleteNode(deleted)
	w.await(o, "pods wait for a node", func(s state) bool {
		return len(podsOn(s, deleted)) == 0 && len(active(podsIn(s))) == 4 && !slices.ContainsFunc(podsIn(s), func(p *corev1.Pod) bool {
			return !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Reason == corev1.PodReasonUnschedulable && c.Message == "no nodes available to schedule pods"
			})
		})
	})
	// 4. A node comes, and they run.
	agents[silent].start()
	w.await(o, "the pods run on the node that has returned", func(s state) bool { return len(ready(podsOn(s, silent))) == 4 })
}

func (w *world) deleteNode(name string) {
	w.Helper()
	w.insist("delete "+name, func(ctx context.Context) error {
		return w.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	})
}

// TestOwnersThatAreNot puts two owners on one selector, and pods under an owner that was never there.
func TestOwnersThatAreNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, j := w.observed(), newJudge()
	w.wholeCluster(1)
	sizes := map[string]int{"first": 2, "second": 3}
	for name, size := range sizes {
		w.create(&workload{resource: "replicasets", name: name, make: func(name string) runtime.Object {
			rs := replicaSet("shared").(*appsv1.ReplicaSet)
			rs.Name, rs.Spec.Replicas = name, ptr.To(int32(size))
			return rs
		}})
	}
	w.await(o, "each has its own pods", func(s state) bool {
		for _, rs := range of[*appsv1.ReplicaSet](s) {
			if len(ready(podsOf(s, rs.UID))) != sizes[rs.Name] || int(rs.Status.AvailableReplicas) != sizes[rs.Name] {
				return false
			}
		}
		return len(podsIn(s)) == 5
	})
	orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "orphan", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "never", UID: types.UID("00000000-0000-0000-0000-000000000001"), Controller: ptr.To(true)}}},
		Spec: pod("orphan", nil).Spec}
	w.insist("create an orphan", func(ctx context.Context) error {
		_, err := w.client.CoreV1().Pods(namespace).Create(ctx, orphan, metav1.CreateOptions{})
		return err
	})
	w.await(o, "the orphan is seen", func(s state) bool { return len(podsIn(s)) == 6 })
	w.await(o, "the orphan goes", func(s state) bool { return len(podsIn(s)) == 5 })
	// One that names an owner of another namespace is told that it cannot have it.
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "stranger", Namespace: metav1.NamespaceSystem}}
	w.insist("create a stranger", func(ctx context.Context) error {
		var sets []*appsv1.ReplicaSet
		o.look(func(s state) { sets = of[*appsv1.ReplicaSet](s) })
		stranger.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: sets[0].Name, UID: sets[0].UID}}
		_, err := w.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Create(ctx, stranger, metav1.CreateOptions{})
		return err
	})
	w.told("OwnerRefInvalidNamespace", "ConfigMap", "garbage-collector-controller")
	w.judged(o, j)
}
