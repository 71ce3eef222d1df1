package scheduler

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
)

// epoch is when tests begin.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// stand is a scheduler without an API: what it would bind is placed at once.
type stand struct {
	*Scheduler
	clock *testclock.FakeClock
}

func newStand(options ...func(*Config)) *stand {
	clock := testclock.NewFakeClock(epoch())
	config := &Config{Informers: informers.NewSharedInformerFactory(nil, 0), Clock: clock, Log: slog.New(slog.DiscardHandler),
		Random: func(int) int { return 0 }, EventsFor: func(string) events.EventRecorder { return &events.FakeRecorder{} }}
	for _, o := range options {
		o(config)
	}
	s, err := New(config)
	if err != nil {
		panic(err)
	}
	return &stand{s, clock}
}

// nodes and placed are a cluster in a table: its nodes, and the pods on them.
type (
	nodes  []*corev1.Node
	placed map[string][]*corev1.Pod
)

// standOf is a scheduler that knows of a cluster.
func standOf(all nodes, on placed) *stand {
	s := newStand()
	for _, n := range all {
		s.cluster.setNode(n)
	}
	for node, pods := range on {
		for _, p := range pods {
			s.place(p, node)
		}
	}
	return s
}

func (s *stand) cycle(p *corev1.Pod) *Cycle {
	s.cluster.cycle++
	return &Cycle{Cluster: s.cluster, Pod: newPod(p), profile: s.profiles[corev1.DefaultSchedulerName], promises: s.queue.promises,
		promised: p.Status.NominatedNodeName}
}

// decide runs a cycle; it returns the node's name, or the message.
func (s *stand) decide(p *corev1.Pod) (node, message string) {
	c := s.cycle(p)
	n, d := c.decide()
	if n == nil {
		return "", d.Message()
	}
	return n.name, ""
}

// place puts a pod onto a node.
func (s *stand) place(p *corev1.Pod, node string) { s.cluster.setPod(newPod(p).on(node)) }

// nodeOf makes a node with 4 CPUs, 8 GiB and room for 10 pods, as changed by options.
func nodeOf(name string, options ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = list("cpu=4", "memory=8Gi", "pods=10")
	for _, o := range options {
		o(n)
	}
	return n
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func zone(name string) func(*corev1.Node) { return label(corev1.LabelTopologyZone, name) }

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

func allocatable(what ...string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Allocatable = list(what...) }
}

func list(what ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, w := range what {
		name, amount, _ := strings.Cut(w, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(amount)
	}
	return out
}

// podOf makes a pod, as changed by options.
func podOf(name string, options ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{}}}
	p.Spec.SchedulerName = corev1.DefaultSchedulerName
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "image"}}
	for _, o := range options {
		o(p)
	}
	return p
}

func requests(what ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = list(what...) }
}

func labeled(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func priority(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: epoch()} }

func matching(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func spread(key string, skew int32, how corev1.UnsatisfiableConstraintAction, options ...func(*corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	c := corev1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: how, LabelSelector: matching("app", "a")}
	for _, o := range options {
		o(&c)
	}
	return func(p *corev1.Pod) { p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c) }
}

func podTerm(key, app string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: matching("app", app)}
}

func near(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinityField(p).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}
	}
}

func apart(terms ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinityField(p).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}
	}
}

func preferNear(weight int32, t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinityField(p).PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: t}}}
	}
}

func affinityField(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func TestNodesAreInterleavedByZone(t *testing.T) {
	s := newStand()
	for _, n := range []*corev1.Node{nodeOf("a1", zone("a")), nodeOf("a2", zone("a")), nodeOf("a3", zone("a")), nodeOf("b1", zone("b")), nodeOf("none")} {
		s.cluster.setNode(n)
	}
	order := func() (names []string) {
		for _, n := range s.cluster.known() {
			names = append(names, n.name)
		}
		return names
	}
	if got := fmt.Sprint(order()); got != "[a1 b1 none a2 a3]" {
		t.Error(got)
	}
	s.cluster.removeNode("a1")
	if got := fmt.Sprint(order()); got != "[a2 b1 none a3]" {
		t.Error(got)
	}
}

func TestThePlaceOfANodeIsFreeOnceItsPodsAreGone(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.place(podOf("p"), "n")
	s.cluster.removeNode("n")
	if s.cluster.nodes["n"] == nil || len(s.cluster.known()) != 0 {
		t.Error("the pod is forgotten with its node, or the node is not")
	}
	s.cluster.removePod("p")
	s.cluster.setNode(nodeOf("m"))
	if len(s.cluster.slots) != 1 || s.cluster.nodes["n"] != nil {
		t.Errorf("%d slots, nodes %v", len(s.cluster.slots), s.cluster.nodes)
	}
}

func TestAPodThatIsBoundElsewhereThanAssumedMoves(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.cluster.setNode(nodeOf("m"))
	p := newPod(podOf("p", requests("cpu=1")))
	s.cluster.assume(p.on("n"))
	s.podPlaced(p.on("m"))
	if s.cluster.nodes["n"].Requested.CPU != 0 || s.cluster.nodes["m"].Requested.CPU != 1000 || len(s.cluster.assumed) != 0 {
		t.Errorf("%+v %+v %v", s.cluster.nodes["n"].Requested, s.cluster.nodes["m"].Requested, s.cluster.assumed)
	}
}

func TestObstaclesAreCountedAsTheyComeAndGo(t *testing.T) {
	s := newStand()
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	for _, c := range []struct {
		change            func()
		cordoned, tainted int
	}{
		{func() {
			s.cluster.setNode(nodeOf("n", cordoned, taint("a", corev1.TaintEffectNoSchedule), taint("b", corev1.TaintEffectNoExecute)))
		}, 1, 1},
		{func() { s.cluster.setNode(nodeOf("m", taint("a", corev1.TaintEffectPreferNoSchedule))) }, 1, 1},
		{func() { s.cluster.setNode(nodeOf("n", cordoned)) }, 1, 0},
		{func() { s.cluster.setNode(nodeOf("m", taint("a", corev1.TaintEffectNoSchedule))) }, 1, 1},
		{func() { s.cluster.removeNode("n") }, 0, 1},
		{func() { s.cluster.removeNode("m") }, 0, 0},
	} {
		c.change()
		if s.cluster.cordoned != c.cordoned || s.cluster.tainted != c.tainted {
			t.Errorf("%d cordoned, %d tainted, not %d and %d", s.cluster.cordoned, s.cluster.tainted, c.cordoned, c.tainted)
		}
	}
}

func TestFinishedPodsTakeNothing(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	p := podOf("p", requests("cpu=1"))
	p.Spec.NodeName = "n"
	s.podChanged(nil, p)
	done := p.DeepCopy()
	done.Status.Phase = corev1.PodSucceeded
	s.podChanged(p, done)
	if n := s.cluster.nodes["n"]; len(n.Pods) != 0 || n.Requested.CPU != 0 {
		t.Errorf("%d pods, %+v", len(n.Pods), n.Requested)
	}
}

func TestWithoutNodesThereIsNothingToSay(t *testing.T) {
	if _, message := newStand().decide(podOf("p")); message != "no nodes available to schedule pods" {
		t.Error(message)
	}
}

// run schedules what waits, until nothing does.
func (s *stand) run() {
	for w := s.queue.pop(); w != nil; w = s.queue.pop() {
		c := s.newCycle(w)
		n, d := c.decide()
		if n == nil {
			s.queue.refuse(w, d.Refusers)
			continue
		}
		s.cluster.assume(w.Pod.on(n.name))
		s.queue.remove(w.UID)
	}
}

// serve makes a service of the pods of an app.
func (s *stand) serve(app string) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}}}
	if err := s.config.Informers.Core().V1().Services().Informer().GetStore().Add(service); err != nil {
		panic(err)
	}
}

func ownedBy(kind string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: "owner", Controller: new(true)}}
}

func TestWhatFiltersLookAtIsFetchedTogether(t *testing.T) {
	var n Node
	if end, all := unsafe.Offsetof(n.Allocatable)+unsafe.Sizeof(n.Allocatable), unsafe.Sizeof(n); end > 128 || all != 256 {
		t.Errorf("%d of %d bytes; nodes of a block begin at multiples of 128 if they have 256", end, all)
	}
}
