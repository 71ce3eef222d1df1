package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validPod is a pod that nothing is wrong with.
func validPod() *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "a"}}}}
	defaultPod(p)
	normalizePod(p)
	return p
}

func TestWhatOfAPodMayChange(t *testing.T) {
	type change func(p *corev1.Pod)
	gated := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}} }
	requires := func(keys ...string) change {
		return func(p *corev1.Pod) {
			var term corev1.NodeSelectorTerm
			for _, key := range keys {
				term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpExists})
			}
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}}
		}
	}
	for name, c := range map[string]struct {
		before, after []change
		where         string // of the error; empty if there is none
	}{
		"an image":                {nil, []change{func(p *corev1.Pod) { p.Spec.Containers[0].Image = "b" }}, ""},
		"a command":               {nil, []change{func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"x"} }}, "spec"},
		"a node selector":         {nil, []change{func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }}, "spec"},
		"the choice of the gated": {[]change{gated}, []change{gated, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }}, ""},
		"their affinity grows":    {[]change{gated, requires("a")}, []change{gated, requires("a", "b")}, ""},
		"their affinity changes": {[]change{gated, requires("a")}, []change{gated, requires("b")},
			"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"},
		"a gate is taken away": {[]change{gated}, []change{func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "b"}} }}, ""},
		"a gate is added":      {nil, []change{func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "b"}} }}, "spec.schedulingGates[0].name"},
		"a deadline is set":    {nil, []change{func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(5)) }}, ""},
		"a deadline is extended": {[]change{func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(5)) }},
			[]change{func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(6)) }}, "spec.activeDeadlineSeconds"},
	} {
		old, p := validPod(), validPod()
		for _, change := range c.before {
			change(old)
		}
		for _, change := range c.after {
			change(p)
		}
		checkErrorAt(t, name, validatePodUpdate(p, old), c.where)
	}
}

func TestResizeChangesComputeAlone(t *testing.T) {
	of := func(cpu, storage string) *corev1.Pod {
		p := validPod()
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu), "ephemeral-storage": resource.MustParse(storage)}
		return p
	}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		where string
	}{
		"more CPU":      {of("2", "1Gi"), ""},
		"more storage":  {of("1", "2Gi"), "spec"},
		"less than any": {validPod(), "spec"}, // its class changes with it
	} {
		p, old := c.pod, of("1", "1Gi")
		preparePodResize(nil, p, old)
		checkErrorAt(t, name, validatePodResize(nil, p, old), c.where)
	}
	renamed := of("1", "1Gi")
	renamed.Spec.Containers[0].Name = "other"
	old := of("1", "1Gi")
	preparePodResize(nil, renamed, old)
	checkErrorAt(t, "another name", validatePodResize(nil, renamed, old), "spec.containers[0].name")
}

// checkErrorAt wants the first error at a place, or none if the place is empty.
func checkErrorAt(t *testing.T, name string, errs field.ErrorList, where string) {
	t.Helper()
	switch {
	case where == "" && len(errs) > 0:
		t.Errorf("%s: refused: %v", name, errs.ToAggregate())
	case where != "" && (len(errs) == 0 || errs[0].Field != where):
		t.Errorf("%s: want an error at %s, got %v", name, where, errs.ToAggregate())
	}
}
