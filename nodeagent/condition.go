package nodeagent

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownConditions are those that the agent keeps; others are left as they are.
func ownConditions() []corev1.PodConditionType {
	return []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
		corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting}
}

// foreignConditions are the ones of others.
func foreignConditions(p *corev1.Pod) (foreign []corev1.PodCondition) {
	for _, c := range p.Status.Conditions {
		if !slices.Contains(ownConditions(), c.Type) {
			foreign = append(foreign, c)
		}
	}
	return foreign
}

// sameForeignConditions reports whether the conditions of others say the same: readiness gates depend on them.
func sameForeignConditions(a, b *corev1.Pod) bool {
	return slices.EqualFunc(foreignConditions(a), foreignConditions(b), func(x, y corev1.PodCondition) bool {
		return x.Type == y.Type && x.Status == y.Status
	})
}

// conditions are those of others, then the agent's own.
func (x *reading) conditions(s *corev1.PodStatus, now metav1.Time) []corev1.PodCondition {
	all := foreignConditions(x.pod)
	if c, pending := x.resizing.condition(now); pending && !finished(s.Phase) {
		if i := slices.IndexFunc(x.old.Conditions, func(k corev1.PodCondition) bool { return k.Type == c.Type }); i >= 0 {
			c.LastTransitionTime, c.LastProbeTime = x.old.Conditions[i].LastTransitionTime, x.old.Conditions[i].LastProbeTime
		}
		all = append(all, c)
	}
	containersReady := x.containersReady(s)
	own := []corev1.PodCondition{x.sandboxReady(), x.initialized(s), x.ready(containersReady), containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	if couldRestartAll(x.pod) {
		own = append(own, x.restartingAll(s))
	}
	for _, c := range own {
		c.ObservedGeneration, c.LastTransitionTime = x.pod.Generation, now
		for _, known := range [][]corev1.PodCondition{x.old.Conditions, x.pod.Status.Conditions} {
			i := slices.IndexFunc(known, func(k corev1.PodCondition) bool { return k.Type == c.Type })
			if i >= 0 && known[i].Status == c.Status {
				c.LastTransitionTime = known[i].LastTransitionTime
				break
			}
		}
		all = append(all, c)
	}
	return all
}

// restartingAll says whether all containers are being ended to be started again.
func (x *reading) restartingAll(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case s.Phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case x.resetting:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return c
}

func (x *reading) sandboxReady() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if x.seen.sandbox != nil && x.seen.sandbox.ready {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func (x *reading) initialized(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if slices.ContainsFunc(s.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Started != nil && *c.Started || c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	}) {
		return c
	}
	var incomplete []string
	for i := range x.pod.Spec.InitContainers {
		status := &s.InitContainerStatuses[i]
		if isSidecar(&x.pod.Spec.InitContainers[i]) && !*status.Started || !isSidecar(&x.pod.Spec.InitContainers[i]) && !status.Ready {
			incomplete = append(incomplete, status.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

func (x *reading) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i := range x.pod.Spec.InitContainers {
		if status := &s.InitContainerStatuses[i]; isSidecar(&x.pod.Spec.InitContainers[i]) && !status.Ready {
			unready = append(unready, status.Name)
		}
	}
	for _, status := range s.ContainerStatuses {
		if !status.Ready {
			unready = append(unready, status.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// ready is what the containers are, and then what others say who stand in the pod's readiness gates.
func (x *reading) ready(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range x.pod.Spec.ReadinessGates {
		i := slices.IndexFunc(x.pod.Status.Conditions, func(k corev1.PodCondition) bool { return k.Type == gate.ConditionType })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case x.pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, x.pod.Status.Conditions[i].Status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}
