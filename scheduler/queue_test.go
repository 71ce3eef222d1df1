package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	s.clock.Step(time.Second)
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
