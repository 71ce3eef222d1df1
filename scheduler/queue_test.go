package scheduler

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wait puts a pod into the queue.
func (s *stand) wait(p *corev1.Pod) *Waiting {
	s.queue.add(newPod(p), s.profiles[corev1.DefaultSchedulerName])
	return s.queue.pods[p.UID]
}

func TestTheMoreImportantPodComesFirst(t *testing.T) {
	s := newStand()
	s.wait(podOf("first"))
	s.clock.Step(time.Second)
	s.wait(podOf("second"))
	s.clock.Step(time.Second)
	s.wait(podOf("important", priority(1)))
	for _, want := range []string{"important", "first", "second"} {
		if w := s.queue.pop(); w.Name != want {
			t.Errorf("%s comes, not %s", w.Name, want)
		}
	}
}

func TestAGatedPodWaitsForItsLastGate(t *testing.T) {
	s := newStand()
	gate := func(names ...string) *corev1.Pod {
		return podOf("p", func(p *corev1.Pod) {
			for _, n := range names {
				p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: n})
			}
		})
	}
	s.wait(gate("a", "b"))
	s.wait(gate("b"))
	if w := s.queue.pop(); w != nil {
		t.Error("it is let in")
	}
	s.wait(gate())
	if w := s.queue.pop(); w == nil {
		t.Error("it is not let in")
	}
}

func TestOnlyEventsThatMayHelpWakeAPod(t *testing.T) {
	for _, c := range []struct {
		rule  string
		event func(*stand)
		wakes bool
	}{
		{"a node that is too small", func(s *stand) { s.nodeChanged(nil, nodeOf("m")) }, false},
		{"a node that is large enough", func(s *stand) { s.nodeChanged(nil, nodeOf("m", allocatable("cpu=9", "pods=9"))) }, true},
		{"a node that gets other labels", func(s *stand) { s.nodeChanged(nodeOf("n"), nodeOf("n", zone("z"))) }, false},
		{"a node that grows", func(s *stand) { s.nodeChanged(nodeOf("n"), nodeOf("n", allocatable("cpu=9", "pods=9"))) }, true},
		{"a pod that comes", func(s *stand) { o := podOf("o"); o.Spec.NodeName = "n"; s.podChanged(nil, o) }, false},
		{"a pod that goes", func(s *stand) {
			o := podOf("o")
			o.Spec.NodeName = "n"
			s.podChanged(nil, o)
			s.podChanged(o, nil)
		}, true},
		{"other labels of its own", func(s *stand) { s.wait(podOf("p", requests("cpu=5"), labeled("a", "b"))) }, false},
		{"a smaller request of its own", func(s *stand) { s.wait(podOf("p", requests("cpu=4"))) }, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n"))
			w := s.wait(podOf("p", requests("cpu=5")))
			s.run()
			if w.state != parked {
				t.Fatalf("state %d", w.state)
			}
			c.event(s)
			if woken := w.state != parked; woken != c.wakes {
				t.Errorf("woken: %v", woken)
			}
		})
	}
}

// Labels of nodes change often; those that are no domain of anybody's concern no pod that is refused for where others are.
func TestNodesLabelsWakeWhomTheyConcern(t *testing.T) {
	labels := func(texts ...string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Labels = map[string]string{}
			for i := 0; i < len(texts); i += 2 {
				n.Labels[texts[i]] = texts[i+1]
			}
		}
	}
	lonely := near(podTerm(zoneKey, "none"))
	evenly := spread(zoneKey, 1, corev1.DoNotSchedule)
	picky := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "foo", Operator: corev1.NodeSelectorOpDoesNotExist}}}}}}}
	}
	for _, c := range []struct {
		rule     string
		pod      *corev1.Pod
		old, now []string
		wakes    bool
	}{
		{"affinity: a label of no meaning", podOf("p", lonely), []string{zoneKey, "1"}, []string{zoneKey, "1", "foo", "bar"}, false},
		{"affinity: another zone", podOf("p", lonely), []string{zoneKey, "1"}, []string{zoneKey, "2"}, true},
		{"affinity: a zone at all", podOf("p", lonely), nil, []string{zoneKey, ""}, true},
		{"others' anti-affinity: a label of no meaning", podOf("p", labeled("app", "shunned")), []string{zoneKey, "1"}, []string{zoneKey, "1", "foo", "bar"}, false},
		{"others' anti-affinity: another zone", podOf("p", labeled("app", "shunned")), []string{zoneKey, "1"}, []string{zoneKey, "2"}, true},
		{"spreading: a label of no meaning", podOf("p", labeled("app", "a"), evenly), []string{zoneKey, "1"}, []string{zoneKey, "1", "foo", "bar"}, false},
		{"spreading: another zone", podOf("p", labeled("app", "a"), evenly), []string{zoneKey, "1"}, []string{zoneKey, "2"}, true},
		{"spreading: no zone any more", podOf("p", labeled("app", "a"), evenly), []string{zoneKey, "1"}, nil, true},
		{"spreading: who counts depends on labels", podOf("p", labeled("app", "a"), evenly, picky),
			[]string{zoneKey, "1"}, []string{zoneKey, "1", "foo", "bar"}, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n", labels(c.old...)))
			s.cluster.setNode(nodeOf("full", zone("3"), allocatable("pods=0")))
			s.place(podOf("o", labeled("app", "a"), apart(podTerm(zoneKey, "shunned"))), "n")
			w := s.wait(c.pod)
			s.run()
			refusers := slices.DeleteFunc(slices.Collect(maps.Keys(w.refusers)), func(name string) bool { return name == "NodeResourcesFit" })
			if w.state != parked || len(refusers) != 1 {
				t.Fatalf("state %d, refused by %v", w.state, refusers)
			}
			s.nodeChanged(nodeOf("n", labels(c.old...)), nodeOf("n", labels(c.now...)))
			if woken := w.state != parked; woken != c.wakes {
				t.Errorf("woken: %v", woken)
			}
		})
	}
}

// A namespace's labels concern pods whose terms, or others' terms about them, choose namespaces by labels.
func TestNamespacesWakeWhomTheyConcern(t *testing.T) {
	named := func(label string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"team": label}}}
	}
	byLabel := podTerm(zoneKey, "none")
	byLabel.NamespaceSelector = matching("team", "a")
	shunned := podTerm(zoneKey, "a")
	shunned.NamespaceSelector = matching("team", "b")
	for _, c := range []struct {
		rule        string
		pod, placed *corev1.Pod
		now         string
		wakes       bool
	}{
		{"no choice of namespaces", podOf("p", near(podTerm(zoneKey, "none"))), podOf("o"), "a", false},
		{"a choice of its own", podOf("p", near(byLabel)), podOf("o"), "a", true},
		{"a choice of others", podOf("p", labeled("app", "a"), near(podTerm(zoneKey, "none"))), podOf("o", apart(shunned)), "a", true},
		{"the same labels", podOf("p", near(byLabel)), podOf("o"), "", false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n", zone("1")))
			s.place(c.placed, "n")
			w := s.wait(c.pod)
			s.run()
			if w.state != parked {
				t.Fatalf("state %d", w.state)
			}
			s.namespaceChanged(named(""), named(c.now))
			if woken := w.state != parked; woken != c.wakes {
				t.Errorf("woken: %v", woken)
			}
		})
	}
}

func TestBackOffGrowsAndEnds(t *testing.T) {
	for times, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 50: 10 * time.Second} {
		if got := newStand().queue.backoffAfter(times); got != want {
			t.Errorf("after %d: %v, not %v", times, got, want)
		}
	}
	s := newStand()
	s.wait(podOf("p"))
	w := s.queue.pop()
	s.queue.fail(w)
	if s.queue.pop() != nil {
		t.Error("after an error a pod is taken before its time")
	}
	s.clock.Step(2 * time.Second) // of which one is the back-off
	s.queue.flush()
	if s.queue.pop() != w {
		t.Error("the pod is not back")
	}
}

func TestAPodInBackOffIsTakenWhenNobodyElseWaits(t *testing.T) {
	s := newStand()
	w := s.wait(podOf("p", requests("cpu=5")))
	s.cluster.setNode(nodeOf("n"))
	s.run()
	s.nodeChanged(nodeOf("n"), nodeOf("n", allocatable("cpu=9", "pods=9")))
	other := s.wait(podOf("other"))
	if w.state != backoff || s.queue.pop() != other || s.queue.pop() != w {
		t.Errorf("state %d", w.state)
	}
}

// Of pods whose back-off ends within a second, the more important comes first: an event that makes room wakes many, and nobody
// waits for those that were refused a moment later.
func TestTheMoreImportantPodLeavesBackOffFirst(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.clock.SetTime(s.clock.Now().Truncate(time.Second))
	small := s.wait(podOf("small", requests("cpu=5")))
	s.run()
	s.clock.Step(100 * time.Millisecond)
	great := s.wait(podOf("great", requests("cpu=5"), priority(1)))
	s.run()
	s.clock.Step(time.Second)
	later := s.wait(podOf("later", requests("cpu=5"), priority(2)))
	s.run()
	s.nodeChanged(nodeOf("n"), nodeOf("n", allocatable("cpu=9", "pods=9")))
	if small.state != backoff || great.state != backoff || later.state != backoff {
		t.Fatalf("states %d, %d, %d", small.state, great.state, later.state)
	}
	for _, want := range []*Waiting{great, small, later} {
		if w := s.queue.pop(); w != want {
			t.Errorf("%s comes, not %s", w.Name, want.Name)
		}
	}
}

func TestAParkedPodTriesAgainInTheEnd(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	w := s.wait(podOf("p", requests("cpu=5")))
	s.run()
	s.clock.Step(parkedAtMost + time.Second)
	s.queue.flush()
	if w.state != active {
		t.Errorf("state %d", w.state)
	}
}

func TestADeletedPodIsForgottenWhereverItIs(t *testing.T) {
	s := newStand()
	p := podOf("p")
	for _, after := range []func(){func() {}, func() { s.queue.pop() }, func() { s.queue.refuse(s.queue.pop(), map[string]struct{}{"x": {}}) }, func() { s.queue.fail(s.queue.pop()) }} {
		s.wait(p)
		after()
		s.podChanged(p, nil)
		if len(s.queue.pods)+len(s.queue.parked)+s.queue.active.Len()+s.queue.broken.Len() != 0 {
			t.Errorf("%+v", s.queue)
		}
	}
}

func TestAPodPromisedAPlaceKeepsOthersOut(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.wait(podOf("promised", requests("cpu=3"), priority(5), func(p *corev1.Pod) { p.Status.NominatedNodeName = "n" }))
	if _, message := s.decide(podOf("less", requests("cpu=2"), priority(1))); message != "0/1 nodes are available: 1 Insufficient cpu." {
		t.Error(message)
	}
	if node, message := s.decide(podOf("more", requests("cpu=2"), priority(9))); node != "n" {
		t.Error(message)
	}
	if n := s.cluster.nodes["n"]; len(n.Pods) != 0 || n.Requested.CPU != 0 {
		t.Error("thoughts have changed the node")
	}
}

// TestHints: an event, and whether it may help a pod that a plugin has refused.
func TestHints(t *testing.T) {
	a, b := labeled("app", "a"), labeled("app", "b")
	elsewhere := func(p *corev1.Pod) { p.Namespace = "other" }
	tolerating := func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
	}
	pod := func(options ...func(*corev1.Pod)) *Pod { return newPod(podOf("o", options...)) }
	strict := spread(zoneKey, 1, corev1.DoNotSchedule)
	for _, c := range []struct {
		rule, plugin string
		pod          *Pod
		event        Event
		helps        bool
	}{
		{"company comes", "InterPodAffinity", pod(near(podTerm(zoneKey, "a"))), Event{Kind: PodAdded, Pod: pod(a)}, true},
		{"others come", "InterPodAffinity", pod(near(podTerm(zoneKey, "a"))), Event{Kind: PodAdded, Pod: pod(b)}, false},
		{"company comes elsewhere", "InterPodAffinity", pod(near(podTerm(zoneKey, "a"))), Event{Kind: PodAdded, Pod: pod(a, elsewhere)}, false},
		{"company goes", "InterPodAffinity", pod(near(podTerm(zoneKey, "a"))), Event{Kind: PodDeleted, Pod: pod(a)}, false},
		{"who is in the way goes", "InterPodAffinity", pod(apart(podTerm(zoneKey, "a"))), Event{Kind: PodDeleted, Pod: pod(a)}, true},
		{"who is in the way comes", "InterPodAffinity", pod(apart(podTerm(zoneKey, "a"))), Event{Kind: PodAdded, Pod: pod(a)}, false},
		{"who wants to be alone goes", "InterPodAffinity", pod(a), Event{Kind: PodDeleted, Pod: pod(b, apart(podTerm(zoneKey, "a")))}, true},
		{"who wants others away goes", "InterPodAffinity", pod(a), Event{Kind: PodDeleted, Pod: pod(b, apart(podTerm(zoneKey, "b")))}, false},
		{"others become company", "InterPodAffinity", pod(near(podTerm(zoneKey, "a"))), Event{Kind: PodRelabeled, OldPod: pod(b), Pod: pod(a)}, true},
		{"who is in the way becomes another", "InterPodAffinity", pod(apart(podTerm(zoneKey, "a"))), Event{Kind: PodRelabeled, OldPod: pod(a), Pod: pod(b)}, true},
		{"a pod begins to go", "InterPodAffinity", pod(apart(podTerm(zoneKey, "a"))), Event{Kind: PodRelabeled, OldPod: pod(a), Pod: pod(a, terminating)}, false},
		{"the last node of a domain goes", "PodTopologySpread", pod(strict), Event{Kind: NodeDeleted, OldNode: nodeOf("n", zone("1"))}, true},
		{"a node of no domain goes", "PodTopologySpread", pod(strict), Event{Kind: NodeDeleted, OldNode: nodeOf("n")}, false},
		{"a node goes", "NodeResourcesFit", pod(), Event{Kind: NodeDeleted, OldNode: nodeOf("n")}, false},
		{"a pod of no count goes", "PodTopologySpread", pod(strict), Event{Kind: PodDeleted, Pod: pod(b)}, false},
		{"a pod that counts begins to go", "PodTopologySpread", pod(strict), Event{Kind: PodRelabeled, OldPod: pod(a), Pod: pod(a, terminating)}, true},
		{"other labels of its own", "TaintToleration", pod(), Event{Kind: SelfChanged, OldPod: pod(a), Pod: pod(b)}, false},
		{"more tolerations of its own", "TaintToleration", pod(), Event{Kind: SelfChanged, OldPod: pod(), Pod: pod(tolerating)}, true},
		{"it tolerates cordoned nodes now", "NodeUnschedulable", pod(tolerating), Event{Kind: SelfChanged, OldPod: pod(), Pod: pod(tolerating)}, true},
		{"a volume is detached", "NodeVolumeLimits", pod(using("c")), Event{Kind: AttachmentChanged, OldObject: &storagev1.VolumeAttachment{}}, true},
		{"a volume is attached", "NodeVolumeLimits", pod(using("c")), Event{Kind: AttachmentChanged, Object: &storagev1.VolumeAttachment{}}, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			waker := newStand().profiles[corev1.DefaultSchedulerName].wakers[c.plugin]
			if got := waker.WakenBy()&c.event.Kind != 0 && waker.Helps(&c.event, c.pod); got != c.helps {
				t.Errorf("helps: %v", got)
			}
		})
	}
}

func TestEndsOfNodesAndAttachmentsAreEvents(t *testing.T) {
	s := newStand()
	s.nodeChanged(nil, nodeOf("x", zone("1")))
	s.nodeChanged(nil, nodeOf("y", zone("2"), allocatable("pods=0")))
	s.place(podOf("o", labeled("app", "a")), "x")
	w := s.wait(podOf("p", labeled("app", "a"), spread(zoneKey, 1, corev1.DoNotSchedule)))
	s.run()
	if w.state != parked {
		t.Fatalf("state %d", w.state)
	}
	s.nodeChanged(nodeOf("y", zone("2")), nil)
	if w.state == parked {
		t.Error("the emptiest domain is gone, and the pod sleeps on")
	}
	limited := s.wait(podOf("q"))
	s.queue.pop()
	s.queue.move(limited, inFlight, "")
	s.queue.refuse(limited, map[string]struct{}{"NodeVolumeLimits": {}})
	objects[*storagev1.VolumeAttachment](s.Scheduler, AttachmentChanged)(&storagev1.VolumeAttachment{}, nil)
	if limited.state == parked {
		t.Error("a volume is detached, and the pod sleeps on")
	}
}
