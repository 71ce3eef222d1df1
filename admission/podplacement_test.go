package admission

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodsGoToTheNodesOfTheirNamespace(t *testing.T) {
	for _, c := range []struct {
		rule, annotation, config, asked string
		got, err                        string
	}{
		{"the annotation's", "zone=a", "clusterDefaultNodeSelector: zone=b", "disk=ssd", "disk=ssd zone=a", ""},
		{"the cluster's where there is none", "-", "clusterDefaultNodeSelector: zone=b", "", "zone=b", ""},
		{"a pod that contradicts", "zone=a", "", "zone=b", "", "pod node label selector conflicts with its namespace node label selector"},
		{"a pod that wants more than is allowed", "-", "a: zone=a", "disk=ssd", "", "pod node label selector labels conflict with its namespace whitelist"},
		{"a pod that wants what is allowed", "-", "a: zone=a,disk=ssd", "disk=ssd", "disk=ssd", ""},
	} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		if c.annotation != "-" {
			ns.Annotations = map[string]string{nodeSelectorAnnotation: c.annotation}
		}
		h := newPantry(ns).host()
		h.config = &PluginConfig{"n.yaml", []byte("podNodeSelectorPluginConfig:\n  " + c.config + "\n")}
		p, err := podNodeSelector(h)
		if err != nil {
			t.Fatal(err)
		}
		pod := podWith("", "", func(p *corev1.Pod) {
			if key, value, ok := strings.Cut(c.asked, "="); ok {
				p.Spec.NodeSelector = map[string]string{key: value}
			}
		})
		switch err := p.Mutate(t.Context(), writeOf("pods", "", pod, nil)); {
		case c.err != "":
			if err == nil || err.Error() != `pods "p" is forbidden: `+c.err {
				t.Errorf("%s: %v", c.rule, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.rule, err)
		default:
			want := map[string]string{}
			for pair := range strings.FieldsSeq(c.got) {
				key, value, _ := strings.Cut(pair, "=")
				want[key] = value
			}
			if d := cmp.Diff(want, pod.Spec.NodeSelector); d != "" {
				t.Errorf("%s: %s", c.rule, d)
			}
		}
	}
}

func TestPodsTolerateWhatTheirNamespaceLetsThem(t *testing.T) {
	const config = "apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1\nkind: Configuration\n" +
		"default: [{key: shared, operator: Exists}]\nwhitelist: [{key: shared, operator: Exists}, {key: own, operator: Exists}]\n"
	for _, c := range []struct {
		rule           string
		annotations    map[string]string
		requests, asks string
		got, err       string
	}{
		{"the cluster's defaults", nil, "", "", "shared", ""},
		{"the namespace's go before", map[string]string{defaultTolerationsAnnotation: `[{"key":"own","operator":"Exists"}]`}, "", "", "own", ""},
		{"an empty list is none", map[string]string{defaultTolerationsAnnotation: ""}, "", "", "", ""},
		{"not allowed by the cluster", nil, "", "other", "", "pod tolerations (possibly merged with namespace default tolerations) conflict with its cluster whitelist"},
		{"not allowed by the namespace", map[string]string{allowedTolerationsAnnotation: `[{"key":"own","operator":"Exists"}]`}, "", "", "",
			"pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"},
		{"who asks for resources bears a node that lacks memory", map[string]string{allowedTolerationsAnnotation: ""}, "cpu=1", "", "shared node.kubernetes.io/memory-pressure", ""},
	} {
		h := newPantry(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: c.annotations}}).host()
		h.config = &PluginConfig{"t.yaml", []byte(config)}
		p, err := podToleration(h)
		if err != nil {
			t.Fatal(err)
		}
		pod := podWith(c.requests, "")
		if c.asks != "" {
			pod.Spec.Tolerations = []corev1.Toleration{{Key: c.asks, Operator: corev1.TolerationOpExists}}
		}
		err = p.Mutate(t.Context(), writeOf("pods", "", pod, nil))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v", c.rule, err)
			}
			continue
		}
		var got []string
		for _, toleration := range pod.Spec.Tolerations {
			got = append(got, toleration.Key)
		}
		if d := cmp.Diff(c.got, strings.Join(got, " ")); err != nil || d != "" {
			t.Errorf("%s: %v %s", c.rule, err, d)
		}
	}
}

func TestEventsComeNoFasterThanAllowed(t *testing.T) {
	now := time.Unix(1000, 0)
	h := Host{config: configOfTest("EventRateLimit"), Now: func() time.Time { return now }}
	p, err := eventRateLimit(h)
	if err != nil {
		t.Fatal(err)
	}
	event := func(user string) error {
		a := by(user, writeOf("events", "", &corev1.Event{}, nil))
		a.Kind.Kind = "Event"
		return p.Validate(t.Context(), a)
	}
	for i, want := range []string{"", "", "limit reached on type User for key ann"} {
		if err := event("ann"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("event %d: %v, want %q", i, err, want)
		}
	}
	if err := event("bob"); err != nil {
		t.Errorf("another user: %v", err)
	}
	now = now.Add(time.Second)
	if err := event("ann"); err != nil {
		t.Errorf("a second later: %v", err)
	}
}
