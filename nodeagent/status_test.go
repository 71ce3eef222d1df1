package nodeagent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// summary is what a reader of kubectl get pods sees: phase, readiness, and how each container stands.
func summary(s *corev1.PodStatus) (out []string) {
	ready := "not ready"
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			ready = "ready"
		}
	}
	out = append(out, string(s.Phase)+" "+ready)
	for _, c := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
		text := c.Name
		switch {
		case c.State.Running != nil:
			text += " running"
		case c.State.Terminated != nil:
			text += fmt.Sprint(" ended ", c.State.Terminated.ExitCode)
		default:
			text += " waits " + c.State.Waiting.Reason
		}
		out = append(out, text)
	}
	return out
}

func TestStatus(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	unprobed := podOf(always, nil, "a")
	unprobed.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
	gated := podOf(always, nil, "a")
	gated.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/open"}}
	crash := map[string]trouble{"a": {reason: "CrashLoopBackOff"}}
	for name, c := range map[string]struct {
		x    reading
		seen observed
		want []string
	}{
		"nothing has started":                           {reading{pod: podOf(always, nil, "a")}, seenWith(), []string{"Pending not ready", "a waits ContainerCreating"}},
		"init containers go before":                     {reading{pod: podOf(always, []string{"i"}, "a")}, seenWith(up("i")), []string{"Pending not ready", "i running", "a waits PodInitializing"}},
		"all runs":                                      {reading{pod: podOf(always, []string{"i"}, "a")}, seenWith(ended("i", 0), up("a")), []string{"Running ready", "i ended 0", "a running"}},
		"what has a probe waits for it":                 {reading{pod: unprobed}, seenWith(up("a")), []string{"Running not ready", "a running"}},
		"a gate that others keep is closed":             {reading{pod: gated}, seenWith(up("a")), []string{"Running not ready", "a running"}},
		"one has crashed and is held back":              {reading{pod: podOf(always, nil, "a"), trouble: crash}, seenWith(ended("a", 1)), []string{"Running not ready", "a waits CrashLoopBackOff"}},
		"one has crashed and will be started":           {reading{pod: podOf(onFailure, nil, "a")}, seenWith(ended("a", 1)), []string{"Running not ready", "a ended 1"}},
		"all have ended well":                           {reading{pod: podOf(never, nil, "a", "b")}, seenWith(ended("a", 0), ended("b", 0)), []string{"Succeeded not ready", "a ended 0", "b ended 0"}},
		"one has failed":                                {reading{pod: podOf(never, nil, "a", "b")}, seenWith(ended("a", 0), ended("b", 2)), []string{"Failed not ready", "a ended 0", "b ended 2"}},
		"a sidecar runs on: the pod is not over":        {reading{pod: podOf(never, []string{"s*"}, "a")}, seenWith(up("s*"), ended("a", 0)), []string{"Running not ready", "s* running", "a ended 0"}},
		"how a sidecar ends does not count":             {reading{pod: podOf(never, []string{"s*"}, "a")}, seenWith(ended("s*", 137), ended("a", 0)), []string{"Succeeded not ready", "s* ended 137", "a ended 0"}},
		"an init container has failed for good":         {reading{pod: podOf(never, []string{"i"}, "a")}, seenWith(ended("i", 1)), []string{"Failed not ready", "i ended 1", "a waits PodInitializing"}},
		"a pod that was deleted ends as its containers": {reading{pod: podOf(always, nil, "a"), ending: true, over: true}, seenWith(ended("a", 0)), []string{"Succeeded not ready", "a ended 0"}},
		"one that never ran has failed":                 {reading{pod: podOf(always, nil, "a"), ending: true, over: true}, seenWith(), []string{"Failed not ready", "a waits ContainerCreating"}},
		"a pod over its deadline has not failed yet":    {reading{pod: podOf(always, nil, "a"), ending: true, verdict: &verdict{reason: "DeadlineExceeded"}}, seenWith(up("a")), []string{"Running ready", "a running"}},
		"it has when its containers have ended":         {reading{pod: podOf(always, nil, "a"), ending: true, over: true, verdict: &verdict{reason: "DeadlineExceeded"}}, seenWith(ended("a", 0)), []string{"Failed not ready", "a ended 0"}},
		"containers stand by their names":               {reading{pod: podOf(always, nil, "b", "a")}, seenWith(up("a"), up("b")), []string{"Running ready", "a running", "b running"}},
		"an image that cannot be had":                   {reading{pod: podOf(always, nil, "a"), trouble: map[string]trouble{"a": {reason: "ErrImagePull"}}}, seenWith(), []string{"Pending not ready", "a waits ErrImagePull"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.x.seen, c.x.old = &c.seen, &c.x.pod.Status
			got := podStatus(&c.x, metav1.NewTime(noon()))
			if d := cmp.Diff(c.want, summary(&got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAStatusThatStaysKeepsItsTimes(t *testing.T) {
	seen := seenWith(up("a"))
	x := &reading{pod: podOf(corev1.RestartPolicyAlways, nil, "a"), old: &corev1.PodStatus{}, seen: &seen, runtime: "r", nodeIPs: []string{"192.0.2.1"}}
	first := podStatus(x, metav1.NewTime(noon()))
	x.old = &first
	if d := cmp.Diff(first, podStatus(x, metav1.NewTime(noon().Add(time.Hour)))); d != "" {
		t.Error(d)
	}
}

func TestWhatAPodsStatusTellsIsNotForgotten(t *testing.T) {
	status := &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
		{Name: "ran", RestartCount: 2, ContainerID: "r://1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "done", ContainerID: "r://2", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "r://2", ExitCode: 0}}},
		{Name: "new", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}},
	}}
	got := map[string]string{}
	for _, r := range recall(status, noon()) {
		got[r.name] = fmt.Sprint(r.id, " attempt ", r.attempt, " code ", r.exitCode)
	}
	if d := cmp.Diff(map[string]string{"ran": "1 attempt 2 code 137", "done": "2 attempt 0 code 0"}, got); d != "" {
		t.Error(d)
	}
}
