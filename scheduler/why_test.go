package scheduler

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1affinity "k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// why asks the handler about a pod, of which the informers tell.
func (s *stand) why(t *testing.T, p *corev1.Pod) *Why {
	t.Helper()
	if err := s.config.Informers.Core().V1().Pods().Informer().GetStore().Add(p); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", WhyPath+p.Namespace+"/"+p.Name, nil))
	why := &Why{}
	if err := json.NewDecoder(w.Body).Decode(why); err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	return why
}

// short is an answer in lines: each group of nodes, and each change.
func (y *Why) short() (lines []string) {
	for _, r := range y.Refusals {
		for _, g := range r.Groups {
			var facts []string
			for _, f := range g.Facts {
				facts = append(facts, f.Text)
			}
			lines = append(lines, fmt.Sprintf("%s %v: %s", r.Plugin, g.Nodes, strings.Join(facts, "; ")))
		}
	}
	for _, c := range y.Changes {
		lines = append(lines, fmt.Sprintf("=> %s: %s", c.Node, strings.Join(c.Steps, ", ")))
	}
	return lines
}

// TestWhy: what stands behind each refusal, and the changes that help, the smallest first.
func TestWhy(t *testing.T) {
	a := labeled("app", "a")
	ssd := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }
	inZone := func(zones ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			affinityField(p).NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "z", Operator: corev1.NodeSelectorOpIn, Values: zones}}}}}}
		}
	}
	port := func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}} }
	cordoned := func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
	}
	for _, c := range []struct {
		rule   string
		pod    *corev1.Pod
		nodes  nodes
		placed placed
		want   string
	}{
		{"not enough", podOf("p", requests("cpu=3", "memory=1Gi"), priority(5)), nodes{nodeOf("n"), nodeOf("m"), nodeOf("o")},
			placed{"n": {podOf("x", requests("cpu=2500m"))}, "m": {podOf("y", requests("cpu=3"), priority(7))}, "o": {podOf("z", requests("cpu=3"), priority(9))}}, `
NodeResourcesFit [n]: cpu: 3 asked, 1500m free of 4
NodeResourcesFit [m o]: cpu: 3 asked, 1 free of 4
=> n: lower requests.cpu from 3 to 1500m
=> n: free 1500m of cpu on n: delete or move default/x (priority 0)`},
		{"too large for any", podOf("p", requests("cpu=5", "memory=9Gi")), nodes{nodeOf("n")}, nil, `
NodeResourcesFit [n]: cpu: 5 asked, 4 free of 4; memory: 9Gi asked, 8Gi free of 8Gi
=> n: lower requests.cpu from 5 to 4 and requests.memory from 9Gi to 8Gi`},
		{"too many pods", podOf("p"), nodes{nodeOf("n", allocatable("cpu=4", "pods=2"))}, placed{"n": {podOf("x", priority(2)), podOf("y", priority(1))}}, `
NodeResourcesFit [n]: 2 pods of at most 2
=> n: free a pod's place on n: delete or move default/y (priority 1)`},
		{"a resource that there is not", podOf("p", requests("example.com/gpu=2")), nodes{nodeOf("n", allocatable("example.com/gpu=1", "pods=9"))}, nil, `
NodeResourcesFit [n]: example.com/gpu: 2 asked, 1 free of 1
=> n: lower requests.example.com/gpu from 2 to 1`},
		{"a taint", podOf("p"), nodes{nodeOf("n", taint("k", corev1.TaintEffectNoSchedule)), nodeOf("m", taint("k", corev1.TaintEffectNoSchedule))}, nil, `
TaintToleration [n m]: taint k:NoSchedule is not tolerated
=> n: tolerate taint k:NoSchedule
=> n: remove taint k:NoSchedule from n`},
		{"a node that is not well", podOf("p"), nodes{nodeOf("n", taint("node.kubernetes.io/not-ready", corev1.TaintEffectNoExecute))}, nil, `
TaintToleration [n]: taint node.kubernetes.io/not-ready:NoExecute is not tolerated
=> n: mend n: it is not-ready`},
		{"cordoned", podOf("p"), nodes{nodeOf("n", cordoned)}, nil, `
NodeUnschedulable [n]: cordoned (spec.unschedulable)
=> n: uncordon n
=> n: tolerate taint node.kubernetes.io/unschedulable:NoSchedule`},
		{"a selector", podOf("p", ssd), nodes{nodeOf("n", label("disk", "hdd")), nodeOf("m")}, nil, `
NodeAffinity [n]: disk=ssd is asked for; here it is hdd
NodeAffinity [m]: disk=ssd is asked for; there is no such label
=> n: label n with disk=ssd
=> n: drop disk=ssd from the pod's nodeSelector`},
		{"an affinity", podOf("p", inZone("1", "2")), nodes{nodeOf("n")}, nil, `
NodeAffinity [n]: z In 1,2 is asked for; there is no such label
=> n: label n with z=1
=> n: drop z In 1,2 from the pod's node affinity`},
		{"a port", podOf("p", port), nodes{nodeOf("n")}, placed{"n": {podOf("x", port)}}, `
NodePorts [n]: port 80/TCP is taken by default/x
=> n: free port 80/TCP on n: delete or move default/x (priority 0)
=> n: do without hostport 80/TCP`},
		{"skew", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"), allocatable("pods=0"))}, placed{"x": {podOf("o", a)}}, `
NodeResourcesFit [y]: 0 pods of at most 0
PodTopologySpread [x]: topology.kubernetes.io/zone=1 has 1 such pod, the emptiest 0: maxSkew is 1
=> x: raise maxSkew of topology.kubernetes.io/zone from 1 to 2
=> x: set whenUnsatisfiable of topology.kubernetes.io/zone to ScheduleAnyway`},
		{"a key that is missing", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1"), allocatable("pods=0")), nodeOf("y")}, nil, `
NodeResourcesFit [x]: 0 pods of at most 0
PodTopologySpread [y]: there is no label topology.kubernetes.io/zone
=> y: label y with topology.kubernetes.io/zone=1
=> y: set whenUnsatisfiable of topology.kubernetes.io/zone to ScheduleAnyway`},
		{"no company", podOf("p", near(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("1"))}, nil, `
InterPodAffinity [x y]: topology.kubernetes.io/zone=1 has no pods app=a by topology.kubernetes.io/zone
=> x: run a pod with labels app=a on x, or near
=> x: drop the required affinity to pods app=a by topology.kubernetes.io/zone`},
		{"a crowd", podOf("p", apart(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("1"))}, placed{"x": {podOf("o", a)}}, `
InterPodAffinity [x y]: topology.kubernetes.io/zone=1 has 1 of the pods app=a by topology.kubernetes.io/zone to stay apart from
=> x: free the neighbourhood on x: delete or move default/o (priority 0)
=> y: drop the required anti-affinity to pods app=a by topology.kubernetes.io/zone`},
		{"pods that want to be left alone", podOf("p", a), nodes{nodeOf("x")}, placed{"x": {podOf("o", apart(podTerm(hostname, "a")))}}, `
InterPodAffinity [x]: kubernetes.io/hostname=x has 1 pod that want this one to stay away
=> x: free the neighbourhood on x: delete or move default/o (priority 0)`},
		{"two steps where one is not enough", podOf("p", ssd, requests("cpu=3")), nodes{nodeOf("n")}, placed{"n": {podOf("x", requests("cpu=2"))}}, `
NodeAffinity [n]: disk=ssd is asked for; there is no such label
=> n: label n with disk=ssd, lower requests.cpu from 3 to 2
=> n: label n with disk=ssd, free 1 of cpu on n: delete or move default/x (priority 0)
=> n: drop disk=ssd from the pod's nodeSelector, lower requests.cpu from 3 to 2
=> n: drop disk=ssd from the pod's nodeSelector, free 1 of cpu on n: delete or move default/x (priority 0)`},
		{"a DaemonSet's pod would come back", podOf("p", requests("cpu=3")), nodes{nodeOf("n")},
			placed{"n": {podOf("x", requests("cpu=2"), func(p *corev1.Pod) { p.OwnerReferences = ownedBy("DaemonSet") })}}, `
NodeResourcesFit [n]: cpu: 3 asked, 2 free of 4
=> n: lower requests.cpu from 3 to 2`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := standOf(c.nodes, c.placed)
			s.wait(c.pod)
			s.run()
			before := s.fingerprint()
			y := s.why(t, c.pod)
			if got, want := strings.Join(y.short(), "\n"), strings.TrimSpace(c.want); got != want {
				t.Errorf("got\n%s\nnot\n%s", got, want)
			}
			if y.State != whyPending || y.Queue.Place != "unschedulable" || y.Queue.Attempts != 1 || !strings.HasPrefix(y.Message, "0/") {
				t.Errorf("%+v %+v", y, y.Queue)
			}
			if after := s.fingerprint(); after != before {
				t.Errorf("the question has changed the world:\n%s\n%s", before, after)
			}
		})
	}
}

// fingerprint is all that counts in the cluster.
func (s *stand) fingerprint() string {
	var b strings.Builder
	for _, n := range s.cluster.slots {
		if n == nil {
			continue
		}
		fmt.Fprintf(&b, "%s %v %v %+v %v %v:", n.name, n.Labels, n.Spec.Taints, n.Requested, n.Ports, n.claims)
		for _, p := range n.Pods {
			fmt.Fprint(&b, " ", p.Name, s.cluster.assumed[p.UID], len(p.held))
		}
		for key, t := range s.cluster.topologies {
			if v := t.of[n.slot]; v >= 0 != (n.Node != nil && n.Labels[key] != "") {
				fmt.Fprint(&b, " topology ", key, " is wrong")
			}
		}
	}
	fmt.Fprint(&b, s.cluster.cordoned, s.cluster.tainted, len(s.cluster.holdings), s.cluster.start, len(s.cluster.pods), len(s.cluster.images))
	return b.String()
}

// TestWhyOfOtherStates: pods that wait for other things than a node.
func TestWhyOfOtherStates(t *testing.T) {
	for _, c := range []struct {
		rule        string
		make        func(s *stand) *corev1.Pod
		state, want string
	}{
		{"gates", func(s *stand) *corev1.Pod {
			p := podOf("p", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}} })
			s.wait(p)
			return p
		}, whyGated, "it is not let into the queue: waiting for scheduling gates: [a b]"},
		{"in line", func(s *stand) *corev1.Pod { p := podOf("p"); s.wait(p); return p }, whyPending, "it is in line, and will be looked at at once"},
		{"in back-off", func(s *stand) *corev1.Pod {
			p := podOf("p", requests("cpu=5"))
			s.wait(p)
			s.run()
			s.nodeChanged(nodeOf("n"), nodeOf("n", allocatable("cpu=9", "pods=9")))
			return p
		}, whyPending, "it was refused 1 time, and will be looked at again in 2s"},
		{"an error", func(s *stand) *corev1.Pod {
			p := podOf("p", func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Message: "the API is away"}}
			})
			s.wait(p)
			s.queue.fail(s.queue.pop())
			s.clock.Step(500 * time.Millisecond)
			return p
		}, whyPending, "something went wrong with it (the API is away); it will be tried again in 1.5s"},
		{"another scheduler", func(*stand) *corev1.Pod {
			return podOf("p", func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" })
		}, whyForeign, `it waits for scheduler "mine": this one answers to "default-scheduler" (spec.schedulerName)`},
		{"finished", func(*stand) *corev1.Pod {
			return podOf("p", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		}, whyFinished, "it has run to its end (Succeeded) and takes nothing of a node any more"},
		{"deleted", func(*stand) *corev1.Pod { return podOf("p", terminating) }, whyTerminating, "it is being deleted: no node is looked for any more"},
		{"not seen", func(*stand) *corev1.Pod { return podOf("p") }, whyPending, "the scheduler has not seen it yet"},
		{"being bound", func(s *stand) *corev1.Pod {
			p := podOf("p")
			w := s.wait(p)
			s.queue.pop()
			s.cluster.assume(w.Pod.on("n"))
			return p
		}, whyBinding, "it has a place on n, and is being bound"},
		{"held back", func(s *stand) *corev1.Pod {
			p := podOf("p")
			w := s.wait(p)
			s.queue.pop()
			s.cluster.assume(w.Pod.on("n"))
			s.hall.hold(p.UID, map[string]time.Duration{"Doorman": time.Minute}, s.clock.Now())
			return p
		}, whyBinding, "it has a place on n, and is held back by Doorman"},
		{"preempting", func(s *stand) *corev1.Pod {
			s.place(podOf("less", requests("cpu=4")), "n")
			p := podOf("p", requests("cpu=4"), priority(1))
			s.wait(p)
			s.queue.refuse(s.queue.pop(), map[string]struct{}{"NodeResourcesFit": {}})
			return p
		}, whyPending, "no node would do; it waits for something that may change the mind of NodeResourcesFit; less important pods on n make place for it, or would"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand()
			s.cluster.setNode(nodeOf("n"))
			y := s.why(t, c.make(s))
			if y.State != c.state || y.Summary != c.want {
				t.Errorf("%s: %s, not %s: %s", y.State, y.Summary, c.state, c.want)
			}
		})
	}
}

func TestWhyAPodIsWhereItIs(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("n"))
	s.cluster.setNode(nodeOf("m"))
	s.cluster.setNode(nodeOf("o"))
	s.cluster.setNode(nodeOf("t", taint("k", corev1.TaintEffectNoSchedule)))
	s.place(podOf("other", requests("cpu=2", "memory=4Gi")), "n")
	p := podOf("p", requests("cpu=2", "memory=4Gi"))
	p.Spec.NodeName = "m"
	s.place(p, "m")
	before := s.fingerprint()
	y := s.why(t, p)
	var lines []string
	for _, score := range y.Scores {
		line := fmt.Sprintf("%v %d best=%v here=%v", score.Nodes, score.Total, score.Best, score.Here)
		for _, g := range score.Plugins {
			line += fmt.Sprintf(" %s=%d*%d", g.Plugin, g.Score, g.Weight)
		}
		lines = append(lines, line)
	}
	want := `[m] 425 best=true here=true TaintToleration=100*3 NodeResourcesFit=50*1 NodeResourcesBalancedAllocation=75*1
[o] 425 best=false here=false TaintToleration=100*3 NodeResourcesFit=50*1 NodeResourcesBalancedAllocation=75*1
[n] 375 best=false here=false TaintToleration=100*3 NodeResourcesFit=0*1 NodeResourcesBalancedAllocation=75*1`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	if y.State != whyScheduled || len(y.Refusals) != 1 || y.Refusals[0].Plugin != "TaintToleration" {
		t.Errorf("%+v", y)
	}
	if after := s.fingerprint(); after != before {
		t.Errorf("the question has changed the world:\n%s\n%s", before, after)
	}
}

func TestWhyOfAPodThatDoesNotExist(t *testing.T) {
	w := httptest.NewRecorder()
	newStand().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/why/default/nobody", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), `pod \"nobody\" not found`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestQuestionsLeaveNoTrace: on random clusters too; and for most pods that no node will do for, something is proposed.
func TestQuestionsLeaveNoTrace(t *testing.T) {
	asked, proposed := 0, 0
	for seed := range uint64(40) {
		w := newWorld(seed)
		for range 60 {
			w.turn(t)
		}
		for range 10 {
			p := w.pod()
			p.DeletionTimestamp = nil
			if node, _ := w.decide(p); node != "" {
				continue
			}
			w.wait(p)
			before := w.fingerprint()
			y := w.why(t, p)
			if after := w.fingerprint(); after != before {
				t.Fatalf("seed %d, %s: the question has changed the world:\n%s\n%s", seed, p.Name, before, after)
			}
			w.queue.remove(p.UID)
			asked++
			proposed += min(1, len(y.Changes))
			w.schedule(t, w.pod())
		}
	}
	if asked < 20 || proposed < asked*9/10 {
		t.Errorf("of %d pods that no node would do for, %d have a change that helps", asked, proposed)
	}
}

// TestRequirementsAloneMeanWhatSelectorsMean: each operator, on labels that are there, are not, or are no numbers.
func TestRequirementsAloneMeanWhatSelectorsMean(t *testing.T) {
	for _, op := range []corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists,
		corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt} {
		r := corev1.NodeSelectorRequirement{Key: "k", Operator: op, Values: []string{"5"}}
		if op == corev1.NodeSelectorOpExists || op == corev1.NodeSelectorOpDoesNotExist {
			r.Values = nil
		}
		selector, err := corev1affinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{r}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"4", "5", "6", "x", ""} {
			for _, node := range []*corev1.Node{nodeOf("n", label("k", value)), nodeOf("n")} {
				n := &Node{Node: node, name: node.Name}
				if got, want := matchesAlone(r, false, n), selector.Match(node); got != want {
					t.Errorf("%s of %v: %v, not %v", op, node.Labels, got, want)
				}
			}
		}
	}
}

func TestFiltersExplainThemselves(t *testing.T) {
	for _, row := range Plugins() {
		if is[Filter](row.Kind) && !is[Explainer](row.Kind) {
			t.Errorf("%s refuses pods and does not say why", row.Name)
		}
	}
}

// BenchmarkWhy is one question about a pod that none of 5,000 nodes of different fill will do for.
func BenchmarkWhy(b *testing.B) {
	s := crowd(5000)
	for i := range 5000 {
		s.place(podOf(fmt.Sprint("o", i), requests(fmt.Sprintf("cpu=%dm", 1500+i%1000))), fmt.Sprint("n", i))
	}
	p := podOf("p", requests("cpu=3"), labeled("app", "a"), spread(zoneKey, 1, corev1.DoNotSchedule))
	w := s.wait(p)
	for b.Loop() {
		y := &Why{}
		s.explainWaiting(y, w)
		if len(y.Changes) == 0 {
			b.Fatal("nothing is proposed")
		}
	}
}
