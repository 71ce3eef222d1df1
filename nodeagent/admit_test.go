package nodeagent

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

func TestWhatIsWantedAndNotLeft(t *testing.T) {
	capacity := load{corev1.ResourcePods: 3, corev1.ResourceCPU: 1000, corev1.ResourceMemory: 100}
	for name, c := range map[string]struct {
		used, wants load
		short       string
	}{
		"it fits to the last":                {load{corev1.ResourcePods: 2, corev1.ResourceCPU: 500}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 500}, ""},
		"there are too many pods":            {load{corev1.ResourcePods: 3}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 5000}, "pods, requested: 1, used: 3, capacity: 3"},
		"it wants more than is left":         {load{corev1.ResourceCPU: 501}, load{corev1.ResourcePods: 1, corev1.ResourceCPU: 500}, "cpu, requested: 500, used: 501, capacity: 1000"},
		"what the node does not know of":     {nil, load{corev1.ResourcePods: 1, "example.com/gpu": 5}, ""},
		"nothing is wanted of what is short": {load{corev1.ResourceMemory: 200}, load{corev1.ResourcePods: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			what, message := shortage(capacity, c.used, c.wants)
			if got := strings.TrimPrefix(message, "Node didn't have enough resource: "); got != c.short || !strings.HasPrefix(c.short, string(what)) {
				t.Errorf("%s: %q, want %q", what, got, c.short)
			}
		})
	}
}

func TestPortsOfTheNodeAreTakenOnce(t *testing.T) {
	pod := func(ip string, protocol corev1.Protocol, port int32) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {HostIP: ip, Protocol: protocol, HostPort: port}}}}}}
	}
	for name, c := range map[string]struct {
		has, wants *corev1.Pod
		refused    bool
	}{
		"the same port":                     {pod("", "", 80), pod("", "", 80), true},
		"another port":                      {pod("", "", 80), pod("", "", 81), false},
		"another protocol":                  {pod("", "TCP", 80), pod("", "UDP", 80), false},
		"another address":                   {pod("10.0.0.1", "", 80), pod("10.0.0.2", "", 80), false},
		"all addresses are also this one":   {pod("0.0.0.0", "", 80), pod("10.0.0.2", "", 80), true},
		"this one is also of all addresses": {pod("10.0.0.1", "", 80), pod("", "", 80), true},
		"a container's port is its own":     {&corev1.Pod{}, pod("", "", 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			taken := map[hostPort]bool{}
			for _, port := range hostPortsOf(c.has) {
				taken[port] = true
			}
			if got := findsPortsTaken(&question{pod: c.wants, taken: taken}); got != c.refused {
				t.Errorf("refused: %t, want %t", got, c.refused)
			}
		})
	}
}

// TestGroundsForRefusal: a pod, what is changed of its node, and what is said; nothing where it may come.
func TestGroundsForRefusal(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := onNode("c")
		change(&p)
		return &p
	}
	selecting := func(key, value string) *corev1.Pod {
		return pod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} })
	}
	required := func(r corev1.NodeSelectorRequirement) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{r}}}}}}
		})
	}
	turning := func(name string, change func(*corev1.PodSpec)) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
			change(&p.Spec)
		})
	}
	tainted := func(effect corev1.TaintEffect) func(*question) {
		return func(q *question) { q.node.Spec.Taints = []corev1.Taint{{Key: "k", Effect: effect}} }
	}
	strict := pod(func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict)}
	})
	plain, none := pod(func(*corev1.Pod) {}), func(*question) {}
	elsewhere := "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	away := "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
	for rule, c := range map[string]struct {
		pod  *corev1.Pod
		here func(*question)
		want string
	}{
		"nothing speaks against it": {plain, none, ""},
		"a selector that matches":   {selecting("disk", "ssd"), func(q *question) { q.node.Labels["disk"] = "ssd" }, ""},
		"one that does not":         {selecting("disk", "ssd"), none, elsewhere},
		"an affinity that holds":    {required(corev1.NodeSelectorRequirement{Key: "disk", Operator: corev1.NodeSelectorOpDoesNotExist}), none, ""},
		"one that does not hold":    {required(corev1.NodeSelectorRequirement{Key: "disk", Operator: corev1.NodeSelectorOpExists}), none, elsewhere},
		"a taint that evicts":       {plain, tainted(corev1.TaintEffectNoExecute), away},
		"one that only keeps away":  {plain, tainted(corev1.TaintEffectNoSchedule), ""},
		"one that is tolerated": {pod(func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
		}), tainted(corev1.TaintEffectNoExecute), ""},
		"a static pod stays":           {plain, func(q *question) { q.static = true; tainted(corev1.TaintEffectNoExecute)(q) }, ""},
		"another system":               {pod(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), none, "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"},
		"a label of another system":    {pod(func(p *corev1.Pod) { p.Labels = map[string]string{corev1.LabelOSStable: "windows"} }), none, "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		"strict groups":                {strict, none, "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node"},
		"strict groups that there are": {strict, func(q *question) { q.features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(true)} }, ""},
		"a safe sysctl":                {turning("net/ipv4/tcp_syncookies", func(*corev1.PodSpec) {}), none, ""},
		"one that is not":              {turning("kernel.msgmax", func(*corev1.PodSpec) {}), none, `SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted`},
		"one that would be the host's": {turning("net.ipv4.tcp_rmem", func(s *corev1.PodSpec) { s.HostNetwork = true }), none,
			`SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host Net enabled`},
		"room comes before place": {pod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }), func(q *question) { q.used = load{corev1.ResourcePods: 3} },
			"OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"},
	} {
		t.Run(rule, func(t *testing.T) {
			q := &question{pod: c.pod, node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: nodeLabels("node")}}, capacity: load{corev1.ResourcePods: 3}}
			c.here(q)
			got := ""
			if v, _ := q.refusal(); v != nil {
				got = v.reason + ": " + v.message
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAPodThatDoesNotBelongHereFails(t *testing.T) {
	w := newWorkshop(t, nil)
	p := onNode("c")
	p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	w.create(t, &p)
	eventually(t, "the pod has failed", func() bool { return w.status(t, "p").Phase == corev1.PodFailed })
	if s := w.status(t, "p"); s.Reason != "NodeAffinity" || !strings.HasPrefix(s.Message, "Pod was rejected: Predicate NodeAffinity failed") || len(s.ContainerStatuses) > 0 {
		t.Errorf("%+v", s)
	}
}

// TestANodeIsAskedForBeforeAPodIsRefused has the scheduler know of a label before the node hears of it.
func TestANodeIsAskedForBeforeAPodIsRefused(t *testing.T) {
	w := newWorkshop(t, func(c *Config) {
		c.Client.(*fake.Clientset).PrependWatchReactor("nodes", func(clienttesting.Action) (bool, watch.Interface, error) { return true, watch.NewFake(), nil })
	})
	node, err := w.api.CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is known", func() bool { return w.nodes.Load() != nil })
	node.Labels["disk"] = "ssd"
	if _, err := w.api.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := onNode("c")
	p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	w.create(t, &p)
	eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
	if known := w.knownNode("node").Labels["disk"]; known != "" {
		t.Errorf("the node had heard of the label: %s", known)
	}
	w.desk.mu.Lock()
	defer w.desk.mu.Unlock()
	if got := w.desk.used["node"][corev1.ResourceCPU]; got != 1000 {
		t.Errorf("the pod counts for %d thousandths of a CPU", got)
	}
}
