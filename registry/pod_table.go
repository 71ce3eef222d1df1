package registry

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func podColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		textColumn("Ready", "The aggregate readiness state of this pod for accepting traffic."),
		textColumn("Status", "The aggregate status of the containers in this pod."),
		textColumn("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		ageColumn(),
		wideColumn("IP", doc(corev1.PodStatus{}, "podIP")),
		wideColumn("Node", doc(corev1.PodSpec{}, "nodeName")),
		wideColumn("Nominated Node", doc(corev1.PodStatus{}, "nominatedNodeName")),
		wideColumn("Readiness Gates", doc(corev1.PodSpec{}, "readinessGates")),
	}
}

func podCells(p *corev1.Pod) []any {
	s := summarizePod(p)
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.containers), s.reason, s.restarts.cell(), Age{At: p.CreationTimestamp},
		orNone(p.Status.PodIP), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), readinessGates(p),
	}
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

// podRowConditions marks pods that are done.
func podRowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	var message string
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		message = "The pod has completed successfully."
	case corev1.PodFailed:
		message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{{
		Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase), Message: message,
	}}
}

// podSummary is a pod in one word and a few numbers.
type podSummary struct {
	ready, containers int
	reason            string
	restarts          restarts
}

// restarts counts them, and keeps the end of the last run before one.
type restarts struct {
	count int32
	last  metav1.Time
}

func (r *restarts) add(s *corev1.ContainerStatus) {
	r.count += s.RestartCount
	if t := s.LastTerminationState.Terminated; t != nil && r.last.Before(&t.FinishedAt) {
		r.last = t.FinishedAt
	}
}

func (r restarts) cell() any {
	count := strconv.Itoa(int(r.count))
	if r.count == 0 || r.last.IsZero() {
		return count
	}
	return Age{Before: count + " (", At: r.last, After: " ago)"}
}

// summarizePod finds the word that tells most: of the init container that has not come to its end yet, else of the
// containers, else the phase. Deletion overrides them all.
func summarizePod(p *corev1.Pod) podSummary {
	s := podSummary{containers: len(p.Spec.Containers), reason: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	if c := podCondition(&p.Status, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.reason = corev1.PodReasonSchedulingGated
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; isSidecar(c) {
			sidecars[c.Name] = true
			s.containers++
		}
	}
	sidecarRestarts, initializing := s.summarizeInit(p, sidecars)
	if initialized := podCondition(&p.Status, corev1.PodInitialized); !initializing ||
		initialized != nil && initialized.Status == corev1.ConditionTrue {
		s.restarts = sidecarRestarts
		s.summarizeContainers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.reason = "Unknown"
	case !isPodFinished(p):
		s.reason = "Terminating"
	}
	return s
}

// summarizeInit looks at init containers in their order until one is not done. It returns the restarts of those that run
// on beside the others, and whether one was found that has to come to its end first.
func (s *podSummary) summarizeInit(p *corev1.Pod, sidecars map[string]bool) (sidecarRestarts restarts, initializing bool) {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarts.add(c)
		if sidecars[c.Name] {
			sidecarRestarts.add(c)
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case c.State.Terminated != nil:
			s.reason = "Init:" + terminationReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return sidecarRestarts, true
	}
	return sidecarRestarts, false
}

// summarizeContainers looks at the containers from the last to the first, so that the first has the last word.
func (s *podSummary) summarizeContainers(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarts.add(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminationReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	// One container is done; that is not the pod's state while others run or have failed.
	switch {
	case running && isPodReady(p):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func terminationReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// readinessGates counts the gates whose condition is true.
func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	open := 0
	for _, gate := range p.Spec.ReadinessGates {
		if c := podCondition(&p.Status, gate.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}
