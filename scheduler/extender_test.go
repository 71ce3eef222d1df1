package scheduler

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// extending serves an extender that answers to verbs, and has it asked.
func extending(t *testing.T, e configv1.Extender, answers map[string]func(body *json.Decoder) any) func(*Config) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[strings.TrimPrefix(r.URL.Path, "/")]
		if answer == nil {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(answer(json.NewDecoder(r.Body)))
	}))
	t.Cleanup(server.Close)
	e.URLPrefix = server.URL
	return func(config *Config) {
		config.Configuration = DefaultConfiguration()
		config.Configuration.Extenders = []configv1.Extender{e}
		SetDefaults(config.Configuration)
	}
}

// refusing lets pass the nodes that are not named, without knowing any node itself.
func refusing(names ...string) func(*json.Decoder) any {
	return func(body *json.Decoder) any {
		var args extenderv1.ExtenderArgs
		_ = body.Decode(&args)
		answer := extenderv1.ExtenderFilterResult{Nodes: &corev1.NodeList{}, FailedNodes: extenderv1.FailedNodesMap{}}
		for _, n := range args.Nodes.Items {
			if strings.Contains(strings.Join(names, " "), n.Name) {
				answer.FailedNodes[n.Name] = "the extender says no"
			} else {
				answer.Nodes.Items = append(answer.Nodes.Items, n)
			}
		}
		return answer
	}
}

// TestExtendersHaveASay: where the pod goes, or what is said.
func TestExtendersHaveASay(t *testing.T) {
	type answers = map[string]func(*json.Decoder) any
	byName := func(body *json.Decoder) any {
		var args extenderv1.ExtenderArgs
		_ = body.Decode(&args)
		left := []string{}
		if args.Nodes == nil && len(*args.NodeNames) == 2 {
			left = append(left, "m")
		}
		return extenderv1.ExtenderFilterResult{NodeNames: &left, FailedAndUnresolvableNodes: extenderv1.FailedNodesMap{"n": "never"}}
	}
	liking := func(name string) func(*json.Decoder) any {
		return func(*json.Decoder) any {
			return extenderv1.HostPriorityList{{Host: name, Score: 10}}
		}
	}
	managing := []configv1.ExtenderManagedResource{{Name: "example.com/a", IgnoredByScheduler: true}}
	for _, c := range []struct {
		rule    string
		e       configv1.Extender
		answers answers
		pod     *corev1.Pod
		want    string
	}{
		{"a node is refused", configv1.Extender{FilterVerb: "f"}, answers{"f": refusing("n")}, podOf("p"), "m"},
		{"all are refused", configv1.Extender{FilterVerb: "f"}, answers{"f": refusing("n", "m")}, podOf("p"), "0/2 nodes are available: 2 the extender says no."},
		{"the extender knows the nodes itself", configv1.Extender{FilterVerb: "f", NodeCacheCapable: true}, answers{"f": byName}, podOf("p"), "m"},
		{"a failure is an error", configv1.Extender{FilterVerb: "f"}, nil, podOf("p"), "error: failed f with extender at URL"},
		{"unless it can be ignored", configv1.Extender{FilterVerb: "f", Ignorable: true}, nil, podOf("p"), "n"},
		{"a pod that it does not care for", configv1.Extender{FilterVerb: "f", ManagedResources: managing}, nil, podOf("p"), "n"},
		{"its resources are its own affair", configv1.Extender{FilterVerb: "f", ManagedResources: managing}, answers{"f": refusing("n")}, podOf("p", requests("example.com/a=1")), "m"},
		{"its word counts by its weight", configv1.Extender{PrioritizeVerb: "p", Weight: 5}, answers{"p": liking("m")}, podOf("p"), "m"},
		{"a word that does not come", configv1.Extender{PrioritizeVerb: "p", Weight: 5}, nil, podOf("p"), "n"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand(extending(t, c.e, c.answers))
			s.cluster.setNode(nodeOf("n", allocatable("cpu=40", "memory=80Gi", "pods=10")))
			s.cluster.setNode(nodeOf("m"))
			w := s.wait(c.pod)
			s.queue.pop()
			n, d := s.newCycle(w).decide()
			got := ""
			switch {
			case n != nil:
				got = n.name
			case d.Err != nil:
				got = "error: " + d.Err.Error()
			default:
				got = d.Message()
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

func TestARefusalByAnExtenderIsWokenByAnything(t *testing.T) {
	s := newStand(extending(t, configv1.Extender{FilterVerb: "f"}, map[string]func(*json.Decoder) any{"f": refusing("n")}))
	s.cluster.setNode(nodeOf("n"))
	w := s.wait(podOf("p"))
	s.run()
	if w.state != parked {
		t.Fatalf("state %d", w.state)
	}
	s.nodeChanged(nodeOf("n"), nodeOf("n", label("a", "b")))
	if w.state == parked {
		t.Error("it sleeps on")
	}
}

func TestAnExtenderChoosesAmongVictims(t *testing.T) {
	spares := func(body *json.Decoder) any {
		var args extenderv1.ExtenderPreemptionArgs
		_ = body.Decode(&args)
		answer := extenderv1.ExtenderPreemptionResult{NodeNameToMetaVictims: map[string]*extenderv1.MetaVictims{}}
		for node, victims := range args.NodeNameToVictims {
			if node != "n" {
				answer.NodeNameToMetaVictims[node] = &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{{UID: string(victims.Pods[0].UID)}}}
			}
		}
		return answer
	}
	s := newStand(extending(t, configv1.Extender{PreemptVerb: "v"}, map[string]func(*json.Decoder) any{"v": spares}))
	for _, node := range []string{"n", "m"} {
		s.cluster.setNode(nodeOf(node))
		s.place(podOf("on-"+node, requests("cpu=4")), node)
	}
	w := s.wait(podOf("p", requests("cpu=1"), priority(1)))
	s.queue.pop()
	c := s.newCycle(w)
	c.dry = true
	_, d := c.decide()
	if node, message := s.preemptor().Remedy(c, d); node == nil || *node != "m" {
		t.Error(message)
	}
}

func TestAnExtenderBindsWhatItManages(t *testing.T) {
	var asked extenderv1.ExtenderBindingArgs
	s := newStand(extending(t, configv1.Extender{BindVerb: "b", ManagedResources: []configv1.ExtenderManagedResource{{Name: "example.com/a"}}},
		map[string]func(*json.Decoder) any{"b": func(body *json.Decoder) any {
			_ = body.Decode(&asked)
			return extenderv1.ExtenderBindingResult{}
		}}))
	placed := newPod(podOf("p", requests("example.com/a=1"))).on("n")
	if err := s.bindBy(context.Background(), s.profiles[corev1.DefaultSchedulerName], placed); err != nil {
		t.Fatal(err)
	}
	if asked.PodName != "p" || asked.Node != "n" {
		t.Errorf("%+v", asked)
	}
	if s.extenders.binder(newPod(podOf("q"))) != nil {
		t.Error("it binds what it does not manage")
	}
}
