package nodeagent

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRulesOfASimulation(t *testing.T) {
	rules, err := ReadSimulation([]byte(`
apiVersion: simulated.knarr.dev/v1
kind: Simulation
rules:
- namespaces: [shop-*]
  podSelector: {matchLabels: {app: db}}
  behavior: {ready-after: 5s, log: from the first}
- images: ["*/postgres:*"]
  behavior: {ready-after: 9s, exit-code: "1"}
- containers: [helper]
  nodes: [node-2]
  behavior: {start-after: 1s}
`))
	if err != nil {
		t.Fatal(err)
	}
	about := func(namespace, app, node, container, image string, annotations map[string]string) saying {
		return rules.about(subject{&cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Namespace: namespace}, Annotations: annotations,
			Labels: map[string]string{"app": app, nodeNameLabel: node}}, container, image})
	}
	own := map[string]string{annotationPrefix + "ready-after": "1s"}
	for name, c := range map[string]struct {
		says saying
		word string
		want string
	}{
		"the first that fits counts":               {about("shop-a", "db", "", "", "r.io/x/postgres:17", nil), "ready-after", "5s"},
		"a later one where the first says nothing": {about("shop-a", "db", "", "", "r.io/x/postgres:17", nil), "exit-code", "1"},
		"another namespace":                        {about("a", "db", "", "", "", nil), "ready-after", ""},
		"another label":                            {about("shop-a", "web", "", "", "", nil), "ready-after", ""},
		"a star stands for slashes too":            {about("a", "", "", "", "r.io/x/postgres:17", nil), "ready-after", "9s"},
		"another image":                            {about("a", "", "", "", "postgres", nil), "ready-after", ""},
		"all of a rule has to fit":                 {about("a", "", "node-1", "helper", "", nil), "start-after", ""},
		"a container on a node":                    {about("a", "", "node-2", "helper", "", nil), "start-after", "1s"},
		"a pod's own word counts for more":         {about("shop-a", "db", "", "", "", own), "ready-after", "1s"},
	} {
		if got, _ := c.says(c.word); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"kind: Simulation": "apiVersion",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behaviour: {}}]}":                                            "unknown field",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behavior: {sing: loud}}]}":                                   `rules[0].behavior: nobody understands "sing"`,
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behavior: {exit-after: soon}}]}":                             "rules[0].behavior: exit-after: ",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behavior: {fail: often}}]}":                                  `"often" is none of image, create`,
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behavior: {cpu: '-1'}}]}":                                    "below zero",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{}]}":                                                         "it says nothing",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{images: ['['], behavior: {fail: image}}]}":                   "images: ",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{behavior: {fail: image}, behavior: {fail: create}}]}":        "behavior",
		"{apiVersion: simulated.knarr.dev/v1, kind: Simulation, rules: [{podSelector: {matchLabels: {a: '%'}}, behavior: {log: x}}]}": "podSelector: ",
	} {
		if _, err := ReadSimulation([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestRulesThatChangeCountForContainersThatRun(t *testing.T) {
	w := newWorkshop(t, nil, onNode("c"))
	eventually(t, "the pod runs", func() bool { return w.status(t, "p").Phase == corev1.PodRunning })
	w.Runtime.(*Simulated).SetRules(&Simulation{Rules: []SimulationRule{{Behavior: map[string]string{"exit-after": "5s", "exit-code": "7"}, selector: labels.Everything()}}})
	w.clock.Step(5 * time.Second)
	eventually(t, "it has exited", func() bool {
		s := w.status(t, "p").ContainerStatuses[0]
		return s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 7 || s.State.Terminated != nil && s.State.Terminated.ExitCode == 7
	})
}
