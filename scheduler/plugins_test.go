package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

const hostname = corev1.LabelHostname
const zoneKey = corev1.LabelTopologyZone

func TestTheTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Plugins() {
		plugin := row.Kind
		_, scores := plugin.(Scorer)
		if seen[row.Name] || scores != (row.Weight > 0) {
			t.Errorf("%s: twice, or a weight without scores, or scores without a weight", row.Name)
		}
		seen[row.Name] = true
		if f, ok := plugin.(Filter); ok {
			if _, ok := plugin.(Waker); !ok {
				t.Errorf("%T refuses pods and does not say what helps them", f)
			}
		}
	}
}

// TestFilters: a pod, nodes, pods on them ("node/pod"), and where the pod goes, or what is said.
func TestFilters(t *testing.T) {
	unschedulable := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	tolerating := func(tolerations ...corev1.Toleration) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Tolerations = tolerations }
	}
	selecting := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
	}
	naming := func(names ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			affinityField(p).NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
					{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: names}}}}}}
		}
	}
	hostPort := func(ip string, port int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostIP: ip, HostPort: port, Protocol: corev1.ProtocolTCP})
		}
	}
	sidecar := func(cpu string) func(*corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		return func(p *corev1.Pod) {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: list("cpu=" + cpu)}})
		}
	}
	a := labeled("app", "a")
	minDomains := func(n int32) func(*corev1.TopologySpreadConstraint) {
		return func(c *corev1.TopologySpreadConstraint) { c.MinDomains = &n }
	}
	honorTaints := func(c *corev1.TopologySpreadConstraint) {
		honor := corev1.NodeInclusionPolicyHonor
		c.NodeTaintsPolicy = &honor
	}
	for _, c := range []struct {
		rule   string
		pod    *corev1.Pod
		nodes  nodes
		placed placed
		want   string
	}{
		{"a cordoned node takes no pods", podOf("p"), nodes{nodeOf("n", unschedulable)}, nil, "1 node(s) were unschedulable"},
		{"unless the taint of such nodes is tolerated", podOf("p", tolerating(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})), nodes{nodeOf("n", unschedulable)}, nil, "n"},
		{"taints keep pods away", podOf("p"), nodes{nodeOf("n", taint("k", corev1.TaintEffectNoSchedule)), nodeOf("m", taint("k", corev1.TaintEffectNoExecute))}, nil, "2 node(s) had untolerated taint(s)"},
		{"a toleration without an effect is of all effects", podOf("p", tolerating(corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists})), nodes{nodeOf("n", taint("k", corev1.TaintEffectNoExecute))}, nil, "n"},
		{"a soft taint is a matter of taste", podOf("p"), nodes{nodeOf("n", taint("k", corev1.TaintEffectPreferNoSchedule)), nodeOf("m")}, nil, "m"},
		{"a node selector", podOf("p", selecting("disk", "ssd")), nodes{nodeOf("n"), nodeOf("m", label("disk", "ssd"))}, nil, "m"},
		{"no node has the label", podOf("p", selecting("disk", "ssd")), nodes{nodeOf("n")}, nil, "1 node(s) didn't match Pod's node affinity/selector"},
		{"a node named by its field", podOf("p", naming("m")), nodes{nodeOf("n"), nodeOf("m")}, nil, "m"},
		{"a node named that does not exist", podOf("p", naming("x")), nodes{nodeOf("n")}, nil, "1 node(s) didn't satisfy plugin(s) [NodeAffinity]"},
		{"nodes that are not named are not looked at", podOf("p", naming("m"), requests("cpu=1")), nodes{nodeOf("n"), nodeOf("m")}, placed{"m": {podOf("big", requests("cpu=4"))}}, "1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]"},
		{"a port that is taken", podOf("p", hostPort("", 80)), nodes{nodeOf("n")}, placed{"n": {podOf("o", hostPort("10.0.0.1", 80))}}, "1 node(s) didn't have free ports for the requested pod ports"},
		{"the same port of other addresses", podOf("p", hostPort("10.0.0.2", 80)), nodes{nodeOf("n")}, placed{"n": {podOf("o", hostPort("10.0.0.1", 80))}}, "n"},
		{"not enough", podOf("p", requests("cpu=1", "memory=1Gi", "example.com/gpu=1")), nodes{nodeOf("n", allocatable("cpu=1", "memory=1Gi", "pods=1"))}, placed{"n": {podOf("o", requests("cpu=1m", "memory=1"))}},
			"1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory, 1 Too many pods"},
		{"exactly enough", podOf("p", requests("cpu=1", "memory=1Gi", "example.com/gpu=1")), nodes{nodeOf("n", allocatable("cpu=1", "memory=1Gi", "pods=1", "example.com/gpu=1"))}, nil, "n"},
		{"sidecars are asked for beside the containers", podOf("p", requests("cpu=3"), sidecar("2")), nodes{nodeOf("n")}, nil, "1 Insufficient cpu"},
		{"reasons are sorted as texts", podOf("p", requests("cpu=5")), nodes{nodeOf("a"), nodeOf("b"), nodeOf("c", unschedulable)}, nil, "1 node(s) were unschedulable, 2 Insufficient cpu"},

		{"skew is kept", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"))}, placed{"x": {podOf("o", a)}}, "y"},
		{"also where nothing else will do", podOf("p", a, requests("cpu=1"), spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"), allocatable("pods=9"))}, placed{"x": {podOf("o", a)}}, "1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints"},
		{"terminating pods do not count", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"), allocatable("pods=0"))}, placed{"x": {podOf("o", a, terminating)}}, "x"},
		{"nodes that the pod may not use do not count", podOf("p", a, selecting("z", "1"), spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1"), label("z", "1")), nodeOf("y", zone("2"))}, placed{"x": {podOf("o", a)}}, "x"},
		{"tainted nodes count", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"), taint("k", corev1.TaintEffectNoSchedule))}, placed{"x": {podOf("o", a)}}, "1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint(s)"},
		{"unless taints are to be honored", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule, honorTaints)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2"), taint("k", corev1.TaintEffectNoSchedule))}, placed{"x": {podOf("o", a)}}, "x"},
		{"a node without the key", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule)), nodes{nodeOf("x")}, nil, "1 node(s) didn't match pod topology spread constraints (missing required label)"},
		{"too few domains are as one that is empty", podOf("p", a, spread(zoneKey, 1, corev1.DoNotSchedule, minDomains(2))), nodes{nodeOf("x", zone("1"))}, placed{"x": {podOf("o", a)}}, "1 node(s) didn't match pod topology spread constraints"},

		{"near a pod that is there", podOf("p", near(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2")), nodeOf("z", zone("2"))}, placed{"z": {podOf("o", a)}}, "y"},
		{"near nobody", podOf("p", near(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1"))}, nil, "1 node(s) didn't match pod affinity rules"},
		{"the first of its kind", podOf("p", a, near(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1"))}, nil, "x"},
		{"the first of its kind needs the key as well", podOf("p", a, near(podTerm(zoneKey, "a"))), nodes{nodeOf("x")}, nil, "1 node(s) didn't match pod affinity rules"},
		{"terminating pods are company", podOf("p", near(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1"))}, placed{"x": {podOf("o", a, terminating)}}, "x"},
		{"a pod has to match all terms", podOf("p", near(podTerm(zoneKey, "a"), corev1.PodAffinityTerm{TopologyKey: hostname, LabelSelector: matching("tier", "b")})), nodes{nodeOf("x", zone("1"))}, placed{"x": {podOf("o", a), podOf("q", labeled("tier", "b"))}}, "1 node(s) didn't match pod affinity rules"},
		{"apart from a pod that is there", podOf("p", apart(podTerm(hostname, "a"))), nodes{nodeOf("x"), nodeOf("y")}, placed{"x": {podOf("o", a)}}, "y"},
		{"no place apart", podOf("p", apart(podTerm(zoneKey, "a"))), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("1"))}, placed{"x": {podOf("o", a)}}, "2 node(s) didn't match pod anti-affinity rules"},
		{"apart of a node without the key is anywhere", podOf("p", apart(podTerm(zoneKey, "a"))), nodes{nodeOf("x")}, placed{"x": {podOf("o", a)}}, "x"},
		{"a pod that is there wants to be apart", podOf("p", a), nodes{nodeOf("x")}, placed{"x": {podOf("o", apart(podTerm(hostname, "a")))}}, "1 node(s) didn't satisfy existing pods anti-affinity rules"},
		{"other namespaces are other pods", podOf("p", apart(podTerm(hostname, "a"))), nodes{nodeOf("x")}, placed{"x": {podOf("o", a, func(p *corev1.Pod) { p.Namespace = "other" })}}, "x"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := standOf(c.nodes, c.placed)
			node, message := s.decide(c.pod)
			want := c.want
			if message != "" {
				want = fmt.Sprintf("0/%d nodes are available: %s.", len(c.nodes), c.want)
			}
			if node+message != want {
				t.Errorf("%s%s, not %s", node, message, want)
			}
		})
	}
}

func TestNamespacesAreSelectedByTheirLabelsOfNow(t *testing.T) {
	s := newStand()
	s.cluster.setNode(nodeOf("x"))
	s.cluster.setNamespace("other", map[string]string{"team": "b"})
	s.place(podOf("o", labeled("app", "a"), func(p *corev1.Pod) { p.Namespace = "other" }), "x")
	term := podTerm(hostname, "a")
	term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	p := podOf("p", apart(term))
	if node, message := s.decide(p); node != "x" {
		t.Error(message)
	}
	s.cluster.setNamespace("other", map[string]string{"team": "a"})
	if node, _ := s.decide(p); node != "" {
		t.Error("the namespace's labels of before were looked at")
	}
}

// TestScores: what a plugin gives each node.
func TestScores(t *testing.T) {
	a := labeled("app", "a")
	withImage := func(name string, size int64) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{name}, SizeBytes: size})
		}
	}
	for _, c := range []struct {
		rule, plugin string
		args         string
		pod          *corev1.Pod
		nodes        nodes
		placed       placed
		want         string // scores, or "none"
	}{
		{"the least allocated", "NodeResourcesFit", "", podOf("p", requests("cpu=1", "memory=2Gi")), nodes{nodeOf("x"), nodeOf("y")}, placed{"y": {podOf("o", requests("cpu=2", "memory=4Gi"))}}, "[75 25]"},
		{"a pod that asks for nothing counts a little", "NodeResourcesFit", "", podOf("p"), nodes{nodeOf("x", allocatable("cpu=1", "memory=400Mi", "pods=3"))}, nil, "[70]"},
		{"the most allocated", "NodeResourcesFit", `{"scoringStrategy": {"type": "MostAllocated"}}`, podOf("p", requests("cpu=1", "memory=2Gi")), nodes{nodeOf("x"), nodeOf("y")}, placed{"y": {podOf("o", requests("cpu=2", "memory=4Gi"))}}, "[25 75]"},
		{"a shape", "NodeResourcesFit", `{"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 0}]}}}`, podOf("p", requests("cpu=1", "memory=2Gi")), nodes{nodeOf("x"), nodeOf("y")}, placed{"y": {podOf("o", requests("cpu=1", "memory=2Gi"))}}, "[50 100]"},
		{"a resource that is not asked for does not count", "NodeResourcesFit", `{"scoringStrategy": {"type": "LeastAllocated", "resources": [{"name": "example.com/gpu", "weight": 5}, {"name": "cpu"}]}}`, podOf("p", requests("cpu=1")), nodes{nodeOf("x")}, nil, "[75]"},
		{"balance that gets better", "NodeResourcesBalancedAllocation", "", podOf("p", requests("cpu=2")), nodes{nodeOf("x"), nodeOf("y")}, placed{"y": {podOf("o", requests("memory=4Gi"))}}, "[62 87]"},
		{"balance is nothing to a pod that asks for nothing", "NodeResourcesBalancedAllocation", "", podOf("p"), nodes{nodeOf("x")}, nil, "none"},
		{"soft taints", "TaintToleration", "", podOf("p"), nodes{nodeOf("x"), nodeOf("y", taint("a", "PreferNoSchedule")), nodeOf("z", taint("a", "PreferNoSchedule"), taint("b", "PreferNoSchedule"))}, nil, "[100 50 0]"},
		{"an image that half of the nodes have", "ImageLocality", "", podOf("p"), nodes{nodeOf("x", withImage("image:latest", 1000<<20)), nodeOf("y")}, nil, "[48 0]"},
		{"own preferences, and those of others", "InterPodAffinity", "", podOf("p", a, preferNear(10, podTerm(hostname, "b"))), nodes{nodeOf("x"), nodeOf("y"), nodeOf("z")},
			placed{"x": {podOf("o", labeled("app", "b"))}, "y": {podOf("q", preferNear(5, podTerm(hostname, "a")))}}, "[100 50 0]"},
		{"who requires company likes it", "InterPodAffinity", "", podOf("p", a), nodes{nodeOf("x"), nodeOf("y")}, placed{"y": {podOf("q", near(podTerm(hostname, "a")))}}, "[0 100]"},
		{"nobody says anything", "InterPodAffinity", "", podOf("p", a), nodes{nodeOf("x")}, nil, "none"},
		{"fewer of its kind", "PodTopologySpread", "", podOf("p", a, spread(zoneKey, 1, corev1.ScheduleAnyway)), nodes{nodeOf("x", zone("1")), nodeOf("y", zone("2")), nodeOf("z", zone("2"))}, placed{"x": {podOf("o", a), podOf("q", a)}, "y": {podOf("r", a)}}, "[33 100 100]"},
		{"a node without the key is liked the least", "PodTopologySpread", "", podOf("p", a, spread(zoneKey, 1, corev1.ScheduleAnyway)), nodes{nodeOf("x", zone("1")), nodeOf("y")}, nil, "[100 0]"},
		{"others' requirements count as configured", "InterPodAffinity", `{"hardPodAffinityWeight": 4}`, podOf("p", a), nodes{nodeOf("x"), nodeOf("y"), nodeOf("z")},
			placed{"x": {podOf("o", near(podTerm(hostname, "a")))}, "y": {podOf("q", preferNear(2, podTerm(hostname, "a")))}}, "[100 50 0]"},
		{"others' preferences are nothing to a pod without any, if so configured", "InterPodAffinity", `{"ignorePreferredTermsOfExistingPods": true}`, podOf("p", a), nodes{nodeOf("x"), nodeOf("y")},
			placed{"x": {podOf("o", preferNear(2, podTerm(hostname, "a")))}}, "none"},
		{"an affinity that is added", "NodeAffinity", `{"addedAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}`,
			podOf("p"), nodes{nodeOf("x"), nodeOf("y", label("disk", "ssd"))}, nil, "[0 100]"},
		{"balance of three resources", "NodeResourcesBalancedAllocation", `{"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "example.com/gpu"}]}`,
			podOf("p", requests("cpu=1", "example.com/gpu=1")), nodes{nodeOf("x", allocatable("cpu=4", "memory=8Gi", "example.com/gpu=1"))}, nil, "[53]"},
		{"nobody's pod is not spread", "PodTopologySpread", "", podOf("p", a), nodes{nodeOf("x")}, nil, "none"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := newStand(withArgs(c.plugin, c.args))
			for _, n := range c.nodes {
				s.cluster.setNode(n)
			}
			for node, pods := range c.placed {
				for _, p := range pods {
					s.place(p, node)
				}
			}
			if got := s.scores(c.plugin, c.pod); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
		})
	}
}

// withArgs gives a plugin arguments; none if they are empty.
func withArgs(plugin, args string) func(*Config) {
	return func(config *Config) {
		if args == "" {
			return
		}
		config.Configuration = DefaultConfiguration()
		config.Configuration.Profiles[0].PluginConfig = []configv1.PluginConfig{{Name: plugin, Args: runtime.RawExtension{Raw: []byte(args)}}}
	}
}

func (s *stand) scores(plugin string, p *corev1.Pod) string {
	c := s.cycle(p)
	c.classOf(c.Pod)
	nodes := c.known()
	scores := make([]int64, len(nodes))
	for _, scorer := range c.profile.scorers {
		if scorer.name == plugin && scorer.plugin.Score(c, nodes, scores) {
			return fmt.Sprint(scores)
		}
	}
	return "none"
}
