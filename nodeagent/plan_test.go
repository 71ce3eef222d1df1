package nodeagent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// podOf is a pod with init containers (a name that ends in * is a sidecar's) and regular ones.
func podOf(policy corev1.RestartPolicy, inits []string, regular ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", Generation: 1}, Spec: corev1.PodSpec{RestartPolicy: policy}}
	for _, name := range inits {
		c := corev1.Container{Name: name}
		if name[len(name)-1] == '*' {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	for _, name := range regular {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
	}
	return p
}

func up(name string) run {
	return run{id: name, name: name, state: runRunning, started: noon().Add(-time.Hour)}
}

func ended(name string, code int32) run {
	return run{id: name, name: name, state: runExited, exitCode: code, started: noon().Add(-time.Hour), finished: noon()}
}

// seenWith is a pod with a sandbox and runs.
func seenWith(runs ...run) observed {
	o := observed{sandbox: &sandbox{id: "s", ready: true}, runs: map[string][]run{}}
	for _, r := range runs {
		o.runs[r.name] = append(o.runs[r.name], r)
	}
	return o
}

// told is a plan as text.
func (a actions) told() (out []string) {
	for _, x := range a.stop {
		out = append(out, "stop "+x.run.name)
	}
	if a.reset {
		out = append(out, "reset")
	}
	if a.end {
		out = append(out, "end")
	}
	if a.sandbox {
		out = append(out, "sandbox")
	}
	for _, x := range a.start {
		out = append(out, fmt.Sprintf("start %s %d", x.container.Name, x.attempt))
	}
	for name := range a.hold {
		out = append(out, "hold "+name)
	}
	slices.Sort(out)
	return out
}

func TestPlan(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	probed := podOf(never, nil, "a")
	probed.Spec.Containers[0].LivenessProbe = &corev1.Probe{}
	unwell := func(id string) map[string]health {
		h := health{}
		h[Liveness].result = failure
		return map[string]health{id: h}
	}
	sidecarStarts := podOf(always, []string{"s*", "i"}, "a")
	sidecarStarts.Spec.InitContainers[0].StartupProbe = &corev1.Probe{}
	ruled := podOf(always, []string{"i"}, "a", "b")
	ruled.Spec.Containers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	ruled.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	again := seenWith()
	again.past = map[string]run{"i": {attempt: 2}}
	outdated := up("a")
	outdated.definition = "another"
	for name, c := range map[string]struct {
		s    situation
		want []string
	}{
		"an exit may have all containers started again":                    {situation{pod: ruled, seen: seenWith(ended("i", 0), ended("a", 42), up("b"))}, []string{"reset"}},
		"another exit of the same container does not":                      {situation{pod: ruled, seen: seenWith(ended("i", 0), ended("a", 1), up("b"))}, []string{"start a 1"}},
		"what was begun is brought to its end":                             {situation{pod: ruled, seen: seenWith(ended("i", 0), up("b")), resetting: true}, []string{"reset"}},
		"then init containers are first again, and runs are counted on":    {situation{pod: ruled, seen: again}, []string{"start i 3"}},
		"one whose image has changed is stopped":                           {situation{pod: podOf(always, nil, "a"), seen: seenWith(outdated)}, []string{"stop a"}},
		"a pod begins with a sandbox":                                      {situation{pod: podOf(always, nil, "a"), seen: observed{}}, []string{"sandbox"}},
		"regular containers start together":                                {situation{pod: podOf(always, nil, "a", "b"), seen: seenWith()}, []string{"start a 0", "start b 0"}},
		"init containers start one after the other":                        {situation{pod: podOf(always, []string{"i", "j"}, "a"), seen: seenWith()}, []string{"start i 0"}},
		"the next when one is done":                                        {situation{pod: podOf(always, []string{"i", "j"}, "a"), seen: seenWith(ended("i", 0))}, []string{"start j 0"}},
		"nothing while one runs":                                           {situation{pod: podOf(always, []string{"i", "j"}, "a"), seen: seenWith(up("i"))}, nil},
		"regular ones when all are done":                                   {situation{pod: podOf(always, []string{"i"}, "a"), seen: seenWith(ended("i", 0))}, []string{"start a 0"}},
		"a failed init container starts again":                             {situation{pod: podOf(onFailure, []string{"i"}, "a"), seen: seenWith(ended("i", 1))}, []string{"start i 1"}},
		"a failed init container ends a pod that never":                    {situation{pod: podOf(never, []string{"i"}, "a"), seen: seenWith(ended("i", 1))}, []string{"end"}},
		"a sidecar counts as done when it has started":                     {situation{pod: podOf(always, []string{"s*", "i"}, "a"), seen: seenWith(up("s*"))}, []string{"start i 0"}},
		"a sidecar that has not started is waited for":                     {situation{pod: sidecarStarts, seen: seenWith(up("s*"))}, nil},
		"a sidecar that ended starts again":                                {situation{pod: podOf(always, []string{"s*"}, "a"), seen: seenWith(ended("s*", 0), up("a"))}, []string{"start s* 1"}},
		"a plain init container does not":                                  {situation{pod: podOf(always, []string{"i"}, "a"), seen: seenWith(ended("i", 0), up("a"))}, nil},
		"what ends starts again under Always":                              {situation{pod: podOf(always, nil, "a"), seen: seenWith(ended("a", 0))}, []string{"start a 1"}},
		"what ends well does not under OnFailure":                          {situation{pod: podOf(onFailure, nil, "a"), seen: seenWith(ended("a", 0))}, []string{"end"}},
		"what fails does":                                                  {situation{pod: podOf(onFailure, nil, "a"), seen: seenWith(ended("a", 1))}, []string{"start a 1"}},
		"nothing does under Never":                                         {situation{pod: podOf(never, nil, "a", "b"), seen: seenWith(ended("a", 1), up("b"))}, nil},
		"a pod whose containers are done ends, with its sidecars":          {situation{pod: podOf(never, []string{"s*"}, "a"), seen: seenWith(up("s*"), ended("a", 0))}, []string{"end"}},
		"one that ended too often has to wait":                             {situation{pod: podOf(always, nil, "a", "b"), seen: seenWith(ended("a", 1), up("b")), backoffs: map[string]backoff{"a": {10 * time.Second, noon()}}, now: noon().Add(9 * time.Second)}, []string{"hold a"}},
		"until its time is over":                                           {situation{pod: podOf(always, nil, "a"), seen: seenWith(ended("a", 1)), backoffs: map[string]backoff{"a": {10 * time.Second, noon()}}, now: noon().Add(10 * time.Second)}, []string{"start a 1"}},
		"one that is unwell is stopped":                                    {situation{pod: podOf(always, nil, "a", "b"), seen: seenWith(up("a"), up("b")), health: unwell("a")}, []string{"stop a"}},
		"one that is unwell and not started again ends the pod":            {situation{pod: probed, seen: seenWith(up("a")), health: unwell("a")}, []string{"end", "stop a"}},
		"what was stopped to be started again is, however it ended":        {situation{pod: podOf(onFailure, nil, "a"), seen: seenWith(ended("a", 0)), revive: map[string]bool{"a": true}}, []string{"start a 1"}},
		"nothing starts in a pod that is to end":                           {situation{pod: podOf(always, nil, "a"), seen: seenWith(), ending: true}, []string{"end"}},
		"a pod that was done before the runtime forgot it gets no sandbox": {situation{pod: podOf(never, nil, "a"), seen: observed{runs: map[string][]run{"a": {ended("a", 0)}}}}, []string{"end"}},
		"a pod that was not is begun anew":                                 {situation{pod: podOf(always, nil, "a"), seen: observed{runs: map[string][]run{"a": {ended("a", 137)}}}}, []string{"sandbox"}},
		"a pod whose init container failed for good is not":                {situation{pod: podOf(never, []string{"i"}, "a"), seen: observed{runs: map[string][]run{"i": {ended("i", 1)}}}}, []string{"end"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.s.now.IsZero() {
				c.s.now = noon()
			}
			if d := cmp.Diff(c.want, plan(&c.s).told()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRulesOfAContainerComeBeforeItsPolicy(t *testing.T) {
	p := podOf(corev1.RestartPolicyNever, nil, "a")
	c := &p.Spec.Containers[0]
	c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyNever)
	c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	for code, want := range map[int32]bool{42: true, 1: false, 0: false} {
		if got := restartsAfter(p, c, code); got != want {
			t.Errorf("code %d: %v", code, got)
		}
	}
}

func TestBackoffDoublesUntilItIsForgotten(t *testing.T) {
	b, now := backoff{}, noon()
	if !b.until(now).Equal(now) {
		t.Error("the first time is not free")
	}
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		b = b.next(now, now)
		if got := b.until(now).Sub(now); got != want*time.Second {
			t.Errorf("%v, want %v", got, want*time.Second)
		}
	}
	later := now.Add(2*lastBackoff + time.Second)
	if !b.until(later).Equal(later) || b.next(later, later).delay != firstBackoff {
		t.Error("a long good run does not count")
	}
}
