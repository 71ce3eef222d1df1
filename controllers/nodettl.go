package controllers

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodeTTL promises that each node says for how long its kubelet may go by what it knows of Secrets and ConfigMaps: the
// larger the cluster, the longer.
//
// The subtle case is a cluster whose size goes up and down about a limit: steps overlap, so that not all nodes are written
// each time.
type nodeTTL struct {
	nodes *Source

	mu   sync.Mutex // guards the fields below
	size int        // of the cluster
	step int
}

func nodeTTLLoop(c *Config) Loop {
	x := &nodeTTL{nodes: c.Source(&corev1.Node{})}
	return Loop{Watches: []Watch{{x.nodes, x.concerned}}, Reconcile: x.reconcile}
}

// concerned is the node that changed, and all when the cluster has reached another step.
func (x *nodeTTL) concerned(old, now metav1.Object) (keys []Key) {
	if (old == nil || now == nil) && x.count(old, now) {
		for _, node := range x.nodes.all("") {
			keys = append(keys, KeyOf(node))
		}
	}
	if now == nil || old != nil && now.GetAnnotations()[corev1.ObjectTTLAnnotationKey] == old.GetAnnotations()[corev1.ObjectTTLAnnotationKey] {
		return keys
	}
	return append(keys, KeyOf(now))
}

// count counts a node that has come or gone, and reports whether the cluster is at another step than before.
func (x *nodeTTL) count(old, now metav1.Object) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old == nil {
		x.size++
	}
	if now == nil {
		x.size--
	}
	step := ttlStep(x.step, x.size)
	changed := step != x.step
	x.step = step
	return changed
}

// ttlSteps are how many nodes a cluster may have at each step without leaving it, and its seconds.
func ttlSteps() []struct{ from, to, seconds int } {
	return []struct{ from, to, seconds int }{{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, 1 << 31, 300}}
}

// ttlStep is the step of a cluster of n nodes that was at another before.
func ttlStep(step, n int) int {
	steps := ttlSteps()
	for step > 0 && n < steps[step].from {
		step--
	}
	for step < len(steps)-1 && n > steps[step].to {
		step++
	}
	return step
}

func (x *nodeTTL) reconcile(ctx context.Context, t *Turn) error {
	node, _ := x.nodes.cached(t.Key).(*corev1.Node)
	if node == nil {
		return nil
	}
	x.mu.Lock()
	want := strconv.Itoa(ttlSteps()[x.step].seconds)
	x.mu.Unlock()
	if node.Annotations[corev1.ObjectTTLAnnotationKey] == want {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{corev1.ObjectTTLAnnotationKey: want}}})
	if err != nil {
		return err
	}
	_, err = Patch(ctx, t, t.Client.CoreV1().Nodes(), node.Name, types.MergePatchType, body)
	return goneAlready(err)
}
