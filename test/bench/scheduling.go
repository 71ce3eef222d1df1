package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// The shapes of pods are those of upstream's own scheduler benchmarks.

// schedulingCase is a shape of pods that are scheduled over knarr's API server.
type schedulingCase struct {
	name  string
	times int // how many times as many pods as in the others
	shape func(*corev1.PodSpec)
}

func schedulingCases() []schedulingCase {
	near := metav1.LabelSelector{MatchLabels: map[string]string{"app": "bench"}}
	term := func(key string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{LabelSelector: &near, TopologyKey: key}
	}
	return []schedulingCase{
		{"basic", 3, func(*corev1.PodSpec) {}},
		{"spreading", 1, func(p *corev1.PodSpec) {
			p.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone,
				WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &near}}
		}},
		{"preferred affinity", 1, func(p *corev1.PodSpec) {
			p.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 1, PodAffinityTerm: term(corev1.LabelHostname)}}}}
		}},
		{"required affinity", 1, func(p *corev1.PodSpec) {
			p.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				term(corev1.LabelTopologyZone)}}}
		}},
		{"required anti-affinity", 1, func(p *corev1.PodSpec) {
			p.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				term(corev1.LabelHostname)}}}
		}},
	}
}

// scheduling measures how many pods a second find a node over knarr's API server: by kube-scheduler, and by knarr's
// scheduler, each a process beside the API server. Each shape of pods has a new cluster of node objects without agents; the
// two take turns. There are so many pods that it takes more than half a second: less would measure connections that are
// opened, heaps that grow, and what else the machine happens to do.
func scheduling(ctx context.Context, top string, s sizes, reference, knarr results) error {
	for _, c := range schedulingCases() {
		for _, one := range []struct {
			name  string
			got   results
			start func(*cluster) error
		}{
			{"kube-scheduler", reference, func(on *cluster) error { return on.startUpstream(top, "kube-scheduler") }},
			{"knarr", knarr, func(on *cluster) error { return on.startBeside(top, "knarr", "scheduler") }},
		} {
			if one.got == nil {
				continue
			}
			rate, err := scheduleOn(ctx, top, s, c, one.start)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", one.name, c.name, err)
			}
			one.got.set("scheduling over the API: "+c.name, rate)
		}
	}
	return nil
}

// unjudged keeps new nodes from being tainted until a controller has seen that they are ready: there is none here.
const unjudged = "--disable-admission-plugins=TaintNodesByCondition"

// scheduleOn measures one shape of pods on a cluster of its own.
func scheduleOn(ctx context.Context, top string, s sizes, c schedulingCase, start func(*cluster) error) (float64, error) {
	on, err := startBare(ctx, top, unjudged)
	if err != nil {
		return 0, err
	}
	defer on.end()
	if err := start(on); err != nil {
		return 0, err
	}
	if err := on.addNodes(ctx, s); err != nil {
		return 0, err
	}
	// Whoever schedules has started, and knows all nodes, when it has scheduled a pod.
	if _, err := on.schedulePods(ctx, s, "first", 1, func(*corev1.PodSpec) {}); err != nil {
		return 0, err
	}
	n := s.scheduledPods * c.times
	took, err := on.schedulePods(ctx, s, "measured", n, c.shape)
	return float64(n) / took.Seconds(), err
}

// addNodes adds nodes in ten zones.
func (c *cluster) addNodes(ctx context.Context, s sizes) error {
	l := &load{}
	each(ctx, s.scheduledNodes, s.writers, func(_, i int) {
		name := fmt.Sprintf("n-%d", i)
		_, err := c.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprintf("z-%d", i%10)}},
			Status: corev1.NodeStatus{
				Capacity:   capacity(),
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
			}}, metav1.CreateOptions{})
		l.fail(err)
	})
	if n := l.failed.Load(); n > 0 {
		return fmt.Errorf("%d nodes are not there", n)
	}
	return nil
}

// schedulePods creates pods and returns the time until all are bound.
func (c *cluster) schedulePods(ctx context.Context, s sizes, in string, n int, shape func(*corev1.PodSpec)) (time.Duration, error) {
	core := c.client.CoreV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in}}, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := core.ServiceAccounts(in).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	clients, err := c.dialMany(ctx, min(n, s.writers))
	if err != nil {
		return 0, err
	}
	defer clients.close()
	requests := make([]request, n)
	for i := range requests {
		requests[i] = request{method: "POST", path: "/api/v1/namespaces/" + in + "/pods", contentType: mediaProtobuf, body: schedulable(i, shape)}
	}
	l := &load{}
	start := time.Now()
	each(ctx, n, len(clients), func(worker, i int) { l.fail(clients[worker].ask(requests[i])) })
	if failed := l.failed.Load(); failed > 0 {
		return 0, fmt.Errorf("%d of %d pods are not there", failed, n)
	}
	err = await(ctx, 3*time.Minute, 5*time.Millisecond, func() (bool, error) {
		waiting, err := core.Pods(in).List(ctx, metav1.ListOptions{Limit: 1, FieldSelector: "spec.nodeName="})
		return err == nil && len(waiting.Items) == 0, err
	})
	return time.Since(start), err
}

// schedulable is a pod of a shape as a request's body in protobuf.
func schedulable(i int, shape func(*corev1.PodSpec)) []byte {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: podName(i), Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{AutomountServiceAccountToken: new(bool),
			Containers: []corev1.Container{{Name: "c", Image: "registry.k8s.io/pause:3.10", Resources: little()}}}}
	shape(&p.Spec)
	var b bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(p, &b); err != nil {
		panic(err) // a pod of this program's own
	}
	return b.Bytes()
}

// little is what a pod asks for.
func little() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("10Mi")}}
}

// capacity is that of a node.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods: resource.MustParse("110")}
}
