package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPreemption: which node is chosen at whose cost, or what is said.
func TestPreemption(t *testing.T) {
	started := func(minutes int) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.StartTime = &metav1.Time{Time: epoch().Add(-time.Duration(minutes) * time.Minute)}
		}
	}
	never := func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }
	budget := func(app string, allowed int32) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app},
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: matching("app", app)}, Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed}}
	}
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	pod := func(name, cpu string, prio int32, options ...func(*corev1.Pod)) *corev1.Pod {
		return podOf(name, append(options, requests("cpu="+cpu), priority(prio))...)
	}
	type placed map[string][]*corev1.Pod
	for _, c := range []struct {
		rule    string
		pod     *corev1.Pod
		nodes   []*corev1.Node
		placed  placed
		budgets []*policyv1.PodDisruptionBudget
		want    string
	}{
		{"the less important goes", pod("p", "2", 10), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "2", 5), pod("b", "2", 1)}}, nil, "n [b]"},
		{"no more go than have to", pod("p", "1", 10), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "1", 1), pod("b", "3", 1)}}, nil, "n [b]"},
		{"the younger goes", pod("p", "2", 10), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "2", 1, started(2)), pod("b", "2", 1, started(9))}}, nil, "n [a]"},
		{"not for one of equal importance", pod("p", "2", 5), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "4", 5)}}, nil, "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"not where it does not help", pod("p", "2", 5), []*corev1.Node{nodeOf("n", cordoned), nodeOf("m")}, placed{"n": {pod("a", "4", 1)}, "m": {pod("b", "4", 9)}}, nil,
			"preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."},
		{"not by one that never does", pod("p", "2", 10, never), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "4", 1)}}, nil, "preemption: not eligible due to preemptionPolicy=Never."},
		{"the node whose budgets are kept", pod("p", "4", 10), []*corev1.Node{nodeOf("m"), nodeOf("n")}, placed{"m": {pod("a", "4", 1, labeled("app", "a"))}, "n": {pod("b", "4", 5)}},
			[]*policyv1.PodDisruptionBudget{budget("a", 0)}, "n [b]"},
		{"the pod whose budget is kept", pod("p", "2", 10), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "2", 1, labeled("app", "a")), pod("b", "2", 5)}},
			[]*policyv1.PodDisruptionBudget{budget("a", 0)}, "n [b]"},
		{"a budget is no promise", pod("p", "4", 10), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "4", 1, labeled("app", "a"))}}, []*policyv1.PodDisruptionBudget{budget("a", 0)}, "n [a]"},
		{"the node with the lowest of the highest", pod("p", "4", 10), []*corev1.Node{nodeOf("m"), nodeOf("n")}, placed{"m": {pod("a", "4", 5)}, "n": {pod("b", "2", 4), pod("c", "2", 4)}}, nil, "n [b c]"},
		{"the node with the fewest", pod("p", "4", 10), []*corev1.Node{nodeOf("m"), nodeOf("n")}, placed{"m": {pod("a", "2", 4), pod("b", "2", 4)}, "n": {pod("c", "4", 4)}}, nil, "n [c]"},
		{"the node whose pods began the last", pod("p", "4", 10), []*corev1.Node{nodeOf("m"), nodeOf("n")}, placed{"m": {pod("a", "4", 4, started(5))}, "n": {pod("b", "4", 4, started(2))}}, nil, "n [b]"},
		{"anti-affinity is a reason as well", pod("p", "1", 10, apart(podTerm(hostname, "a"))), []*corev1.Node{nodeOf("n")}, placed{"n": {pod("a", "1", 1, labeled("app", "a")), pod("b", "1", 1)}}, nil, "n [a]"},
		{"and so is skew", pod("p", "1", 10, labeled("app", "a"), spread(zoneKey, 1, corev1.DoNotSchedule)), []*corev1.Node{nodeOf("n", zone("1")), nodeOf("m", zone("2"), allocatable("cpu=0", "pods=0"))},
			placed{"n": {pod("a", "1", 1, labeled("app", "a")), pod("b", "1", 1)}}, nil, "n [a]"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			for _, n := range c.nodes {
				s.cluster.setNode(n)
			}
			for node, pods := range c.placed {
				for _, p := range pods {
					s.place(p, node)
				}
			}
			budgets := s.config.Informers.Policy().V1().PodDisruptionBudgets()
			for _, b := range c.budgets {
				if err := budgets.Informer().GetStore().Add(b); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.preemption(c.pod); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			for _, n := range s.cluster.known() {
				if len(n.Pods) != len(c.placed[n.name]) {
					t.Errorf("thoughts have changed node %s", n.name)
				}
			}
		})
	}
}

func (s *stand) preemptor() *defaultPreemption {
	args := &preemptionArgs{}
	args.Default()
	return newDefaultPreemption(s.Scheduler, args)
}

func (s *stand) preemption(p *corev1.Pod) string {
	d := s.preemptor()
	c := s.cycle(p)
	_, diagnosis := c.decide()
	if why := ineligible(c, diagnosis); why != "" {
		return "preemption: " + why
	}
	candidates, tried := d.candidates(c, diagnosis)
	if len(candidates) == 0 {
		return "preemption: " + tried.Message()
	}
	best := chooseCandidate(candidates, s.clock.Now().UnixNano())
	var names []string
	for _, v := range best.victims {
		names = append(names, v.Name)
	}
	return fmt.Sprint(best.node.name, " ", names)
}

func TestAPodDoesNotPreemptAgainWhileItsVictimsGo(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.place(podOf("victim", requests("cpu=4"), terminating, func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler}}
	}), "n")
	p := podOf("p", requests("cpu=2"), priority(1), func(p *corev1.Pod) { p.Status.NominatedNodeName = "n" })
	if got := s.preemption(p); got != "preemption: not eligible due to a terminating pod on the nominated node." {
		t.Error(got)
	}
}

func TestVictimsAreKnownToLeaveBeforeItShows(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.place(podOf("victim", requests("cpu=4")), "n")
	s.cluster.leaving["victim"] = true
	p := podOf("p", requests("cpu=2"), priority(1), func(p *corev1.Pod) { p.Status.NominatedNodeName = "n" })
	if got := s.preemption(p); got != "preemption: not eligible due to a terminating pod on the nominated node." {
		t.Error(got)
	}
}

func TestAnOlderNominationDoesNotReplaceTheLast(t *testing.T) {
	s := newStand()
	nominated := func(node string) *corev1.Pod {
		return podOf("p", func(p *corev1.Pod) { p.Status.NominatedNodeName = node })
	}
	w := s.wait(nominated(""))
	s.queue.promise(w, "second")
	w.awaited = new("second")
	for shown, want := range []string{"second", "second", "other", ""} {
		s.wait(nominated([]string{"first", "second", "other", ""}[shown]))
		if w.promised != want {
			t.Errorf("after %d: %q, not %q", shown, w.promised, want)
		}
	}
}

// What is said about a pod that is being bound, so that others know where it will be, is not said to the scheduler itself: it
// has put the pod on its node already.
func TestAPodThatIsBeingBoundCountsOnce(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n", func(n *corev1.Node) { n.Status.Allocatable = list("cpu=4", "memory=8Gi", "pods=2") }))
	w := s.wait(podOf("first"))
	if s.queue.pop() != w {
		t.Fatal("it is not looked at")
	}
	s.cluster.assume(w.Pod.on("n"))
	s.wait(podOf("first", func(p *corev1.Pod) { p.Status.NominatedNodeName = "n" }))
	if node, message := s.decide(podOf("second")); node != "n" {
		t.Error(message)
	}
}

// Of several victims the last one to be gone makes the room; those before it do not have the pod looked at in vain.
func TestAPodIsLookedAtAgainWhenItsLastVictimIsGone(t *testing.T) {
	for _, c := range []struct {
		rule         string
		before       []string // victims whose end is seen before the preemption is done
		err          error
		then, atLast bool
	}{
		{"the last one is there", []string{"first"}, nil, false, true},
		{"all are there", nil, nil, false, true},
		{"all are gone", []string{"first", "last"}, nil, true, true},
		{"something went wrong", nil, errors.New("no"), true, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n"))
			victims := map[string]*corev1.Pod{"first": podOf("first", requests("cpu=2")), "last": podOf("last", requests("cpu=2"))}
			for _, v := range victims {
				s.place(v, "n")
			}
			w := s.wait(podOf("p", requests("cpu=4"), priority(1)))
			s.queue.pop()
			s.queue.refuse(w, map[string]struct{}{"NodeResourcesFit": {}})
			s.preempting[w.UID] = true
			for _, name := range c.before {
				s.podGone(victims[name])
				delete(victims, name)
			}
			if w.state != parked {
				t.Error("the gate is open")
			}
			s.preempted(w.Pod, []*Pod{newPod(podOf("first")), newPod(podOf("last"))}, c.err)
			if woken := w.state != parked; woken != c.then {
				t.Errorf("when the preemption is done: woken %v", woken)
			}
			for _, v := range victims {
				s.podGone(v)
			}
			if woken := w.state != parked; woken != c.atLast {
				t.Errorf("at last: woken %v", woken)
			}
		})
	}
}

func TestEveryLookForVictimsIsCounted(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.place(podOf("equal", requests("cpu=4")), "n")
	c := s.cycle(podOf("p", requests("cpu=2")))
	_, diagnosis := c.decide()
	s.preemptor().Remedy(c, diagnosis)
	c.dry = true
	s.preemptor().Remedy(c, diagnosis)
	if want := "scheduler_preemption_attempts_total 1\n"; !strings.Contains(s.counted(t), want) {
		t.Errorf("%s is missing", want)
	}
}

// What plugins say that have found no way is told together.
func TestAllThatFoundNoWaySaySo(t *testing.T) {
	for _, c := range []struct {
		rule string
		pod  *corev1.Pod
		want string
	}{
		{"no claims", podOf("p", requests("cpu=4")), "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, " +
			"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"claims", podOf("p", claiming("gpu")), "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, " +
			"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"a way", podOf("p", requests("cpu=4"), priority(1)), "0/1 nodes are available: 1 Insufficient cpu."},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n"))
			s.place(podOf("other", requests("cpu=1")), "n")
			cycle := s.cycle(c.pod)
			cycle.dry = true
			_, d := cycle.decide()
			cycle.remedy(d)
			if got := d.Message(); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

func claiming(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: name, ResourceClaimName: &name}}
	}
}
