package admission

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// said is what a plugin told the user and the audit log.
type said struct {
	warnings []string
	notes    map[string]string
}

func (s *said) of(a *Attributes) *Attributes {
	s.notes = map[string]string{}
	a.Warn = func(w string) { s.warnings = append(s.warnings, w) }
	a.Annotate = func(k, v string) { s.notes[strings.TrimPrefix(k, "pod-security.kubernetes.io/")] = v }
	return a
}

// labelled is a namespace with "enforce=baseline warn=restricted".
func labelled(name, labels string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for pair := range strings.FieldsSeq(labels) {
		key, value, _ := strings.Cut(pair, "=")
		ns.Labels["pod-security.kubernetes.io/"+key] = value
	}
	return ns
}

func hostNetwork(p *corev1.Pod) { p.Spec.HostNetwork = true }

func TestPodsKeepToTheStandardOfTheirNamespace(t *testing.T) {
	const violation = "host namespaces (hostNetwork=true)"
	const config = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {audit: baseline}\n" +
		"exemptions: {usernames: [root], namespaces: [free], runtimeClasses: [vm]}\n"
	pod := podWith("", "", hostNetwork)
	deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: pod.Spec}}}
	inVM := podWith("", "", hostNetwork, func(p *corev1.Pod) { p.Spec.RuntimeClassName = ptr.To("vm") })
	newImage := podWith("", "", hostNetwork, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "i" })
	debugged := podWith("", "", hostNetwork, func(p *corev1.Pod) { p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}} })
	for _, c := range []struct {
		rule, labels string
		a            *Attributes
		err          string
		warnings     []string
		notes        map[string]string
	}{
		{"enforced", "enforce=baseline", writeOf("pods", "", pod, nil), `pods "x" is forbidden: violates PodSecurity "baseline:latest": ` + violation, nil,
			map[string]string{"enforce-policy": "baseline:latest", "audit-violations": `would violate PodSecurity "baseline:latest": ` + violation}},
		{"warned of", "warn=baseline audit=privileged warn-version=v1.20", writeOf("pods", "", pod, nil), "", []string{`would violate PodSecurity "baseline:v1.20": ` + violation},
			map[string]string{"enforce-policy": "privileged:latest"}},
		{"audited by default", "", writeOf("pods", "", pod, nil), "", nil, map[string]string{"enforce-policy": "privileged:latest", "audit-violations": `would violate PodSecurity "baseline:latest": ` + violation}},
		{"faulty labels mean the strictest", "enforce=strict audit=privileged warn=privileged", writeOf("pods", "", podWith("", ""), nil), "violates PodSecurity \"restricted:latest\"", nil,
			map[string]string{"enforce-policy": "restricted:latest", "error": `Failed to parse policy: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted`}},
		{"a template is warned of alone", "enforce=baseline", writeOf("deployments.apps", "", deployment, nil), "", []string{`would violate PodSecurity "baseline:latest": ` + violation},
			map[string]string{"audit-violations": `would violate PodSecurity "baseline:latest": ` + violation}},
		{"an update that changes nothing of it", "enforce=baseline", writeOf("pods", "", pod, pod), "", nil, map[string]string{}},
		{"an update of an image", "enforce=baseline", writeOf("pods", "", newImage, pod), "violates PodSecurity", nil, nil},
		{"a container that comes later", "enforce=baseline", writeOf("pods", "ephemeralcontainers", debugged, pod), "violates PodSecurity", nil, nil},
		{"a status", "enforce=baseline", writeOf("pods", "status", newImage, pod), "", nil, map[string]string{}},
		{"a runtime class that is exempt", "enforce=baseline", writeOf("pods", "", inVM, nil), "", nil, map[string]string{"exempt": "runtimeClass"}},
		{"a user who is exempt", "enforce=baseline", by("root", writeOf("pods", "", pod, nil)), "", nil, map[string]string{"exempt": "user"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h := newPantry(labelled("a", c.labels)).host()
			h.config = &PluginConfig{"p.yaml", []byte(config)}
			p, err := podSecurity(h)
			if err != nil {
				t.Fatal(err)
			}
			var s said
			err = p.Validate(t.Context(), s.of(c.a))
			if c.err == "" && err != nil || !strings.Contains(fmt.Sprint(err), c.err) {
				t.Errorf("got %v, want %s", err, c.err)
			}
			if d := cmp.Diff(c.warnings, s.warnings); d != "" {
				t.Error("warnings", d)
			}
			if d := cmp.Diff(c.notes, s.notes); c.notes != nil && d != "" {
				t.Error("notes", d)
			}
		})
	}
}

func by(user string, a *Attributes) *Attributes {
	a.User.Name = user
	return a
}

func TestAStricterLabelWarnsOfPodsThatAreThere(t *testing.T) {
	owned := func(name, owner string, edits ...func(*corev1.Pod)) *corev1.Pod {
		p := podWith("", "", edits...)
		p.Name = name
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{UID: "uid", Name: owner, Controller: ptr.To(true)}}
		}
		return p
	}
	s := newPantry(owned("b", "rs", hostNetwork), owned("c", "rs", hostNetwork), owned("d", "", hostNetwork),
		owned("e", "", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		}), owned("f", ""))
	standard, err := podSecurity(s.host())
	if err != nil {
		t.Fatal(err)
	}
	var got said
	a := got.of(writeOf("namespaces", "", labelled("a", "enforce=baseline"), labelled("a", "")))
	if err := standard.Validate(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want := []string{`existing pods in namespace "a" violate the new PodSecurity enforce level "baseline:latest"`,
		"b (and 2 other pods): host namespaces", "e: privileged"}
	if d := cmp.Diff(want, got.warnings); d != "" {
		t.Error(d)
	}
	for rule, a := range map[string]*Attributes{
		"a laxer label":           writeOf("namespaces", "", labelled("a", "enforce=baseline"), labelled("a", "enforce=restricted")),
		"a label that no mode is": writeOf("namespaces", "", labelled("a", "warn=restricted"), labelled("a", "")),
		"faulty as it was before": writeOf("namespaces", "", labelled("a", "audit=x"), labelled("a", "audit=x")),
	} {
		var got said
		if err := standard.Validate(t.Context(), got.of(a)); err != nil || got.warnings != nil {
			t.Errorf("%s: %v, %q", rule, err, got.warnings)
		}
	}
	if err := standard.Validate(t.Context(), writeOf("namespaces", "", labelled("a", "audit=x"), labelled("a", ""))); err == nil ||
		err.Error() != `Namespace "a" is invalid: metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "x": must be one of privileged, baseline, restricted` {
		t.Errorf("a faulty label: %v", err)
	}
}

func TestTheLookAtExistingPodsIsBounded(t *testing.T) {
	var pods []registry.Object
	for i := range 3 {
		pod := podWith("", "")
		pod.Name = fmt.Sprint(i)
		pods = append(pods, pod)
	}
	standard, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &security{objects: newPantry(pods...), standard: standard, maxPods: 2, patience: time.Hour}
	got := p.violations(t.Context(), "a", p.defaults.Enforce)
	if d := cmp.Diff([]string{"new PodSecurity enforce level only checked against the first 2 of 3 existing pods"}, got); d != "" {
		t.Error(d)
	}
}
