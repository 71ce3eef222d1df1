package nodeagent

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func wanting(p corev1.Pod, name, cpu string) corev1.Pod {
	p.Name, p.UID = name, ""
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	return p
}

// The node has 4 CPUs.
func TestAPodThatGrowsWaitsForRoom(t *testing.T) {
	w := newWorkshop(t, nil, wanting(onNode("c"), "grows", "1"), wanting(onNode("c"), "other", "2"))
	running := func(name string) func() bool {
		return func() bool { return w.status(t, name).Phase == corev1.PodRunning }
	}
	eventually(t, "both run", func() bool { return running("grows")() && running("other")() })
	pods := w.api.CoreV1().Pods("n")
	p, err := pods.Get(t.Context(), "grows", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Generation++
	p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("3")
	if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	has := func(cpu, reason string) func() bool {
		return func() bool {
			s, pending := w.status(t, "grows"), ""
			for _, c := range s.Conditions {
				if c.Type == corev1.PodResizePending {
					pending = c.Reason + ": " + c.Message
				}
			}
			return s.ContainerStatuses[0].AllocatedResources.Cpu().String() == cpu && s.AllocatedResources.Cpu().String() == cpu && pending == reason
		}
	}
	eventually(t, "it is deferred", has("1", "Deferred: Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"))
	w.markDeleted(t, "other", 0)
	eventually(t, "it has room", has("3", ""))
}

func TestAnExitThatStartsAllContainersAgain(t *testing.T) {
	p := onNode("a", "b")
	p.Annotations = map[string]string{annotationPrefix + "exit-after.a": "1m", annotationPrefix + "exit-code.a": "42", annotationPrefix + "exit-times.a": "1"}
	p.Spec.Containers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyNever)
	p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	w := newWorkshop(t, nil, p)
	runs := func(restarts int32) func() bool {
		return func() bool {
			for _, s := range w.status(t, "p").ContainerStatuses {
				if s.State.Running == nil || s.RestartCount != restarts {
					return false
				}
			}
			return w.status(t, "p").Phase == corev1.PodRunning && len(w.status(t, "p").ContainerStatuses) == 2
		}
	}
	eventually(t, "both run", runs(0))
	w.clock.Step(time.Minute)
	eventually(t, "both run again", func() bool { w.clock.Step(time.Millisecond); return runs(1)() })
	s := w.status(t, "p").ContainerStatuses
	if a, b := s[0].LastTerminationState.Terminated, s[1].LastTerminationState.Terminated; a == nil || a.ExitCode != 42 || b == nil || b.Reason != restartingAll {
		t.Errorf("they ended as %+v and %+v", a, b)
	}
	for _, c := range w.status(t, "p").Conditions {
		if c.Type == corev1.AllContainersRestarting && c.Status != corev1.ConditionFalse {
			t.Error("it looks as if it still went on")
		}
	}
}

// resized changes what a pod asks for.
func (w *workshop) resized(t *testing.T, name, cpu string) {
	t.Helper()
	pods := w.api.CoreV1().Pods("n")
	p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Generation++
	p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// given is the CPU that a pod has been given, and whether it waits for other CPU.
func (w *workshop) given(t *testing.T, name string) (cpu string, waits bool) {
	s := w.status(t, name)
	return s.AllocatedResources.Cpu().String(), slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodResizePending })
}

func TestAPodThatShrinksMakesRoom(t *testing.T) {
	w := newWorkshop(t, nil, wanting(onNode("c"), "grows", "1"), wanting(onNode("c"), "other", "3"))
	eventually(t, "both run", func() bool {
		return w.status(t, "grows").Phase == corev1.PodRunning && w.status(t, "other").Phase == corev1.PodRunning
	})
	w.resized(t, "grows", "2")
	eventually(t, "one waits", func() bool { _, waits := w.given(t, "grows"); return waits })
	w.resized(t, "other", "2")
	eventually(t, "it has room", func() bool { cpu, waits := w.given(t, "grows"); return cpu == "2" && !waits })
}

// Who of those that wait gets the room: the most important, then one that is guaranteed what it asks for, then one who has waited longer.
func TestRoomIsGivenInOrder(t *testing.T) {
	for _, c := range []struct {
		rule          string
		first, second func(*corev1.Pod)
		wins          string
	}{
		{"longer", func(*corev1.Pod) {}, func(*corev1.Pod) {}, "first"},
		{"more important", func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Spec.Priority = ptr.To[int32](1) }, "second"},
		{"guaranteed", func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSGuaranteed }, "second"},
		{"importance before guarantees", func(p *corev1.Pod) { p.Spec.Priority = ptr.To[int32](1) }, func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSGuaranteed }, "first"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			first, second := wanting(onNode("c"), "first", "1"), wanting(onNode("c"), "second", "1")
			c.first(&first)
			c.second(&second)
			w := newWorkshop(t, nil, first, second, wanting(onNode("c"), "other", "2"))
			names := []string{"first", "second"}
			eventually(t, "all run", func() bool {
				return !slices.ContainsFunc(append(names, "other"), func(name string) bool { return w.status(t, name).Phase != corev1.PodRunning })
			})
			for _, name := range names {
				w.resized(t, name, "3")
				eventually(t, "it waits", func() bool { _, waits := w.given(t, name); return waits })
				w.clock.Step(time.Second)
			}
			w.markDeleted(t, "other", 0)
			eventually(t, "one has room", func() bool { cpu, waits := w.given(t, c.wins); return cpu == "3" && !waits })
		})
	}
}
