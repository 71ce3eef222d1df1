package registry

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod runs containers on a node. What it runs is fixed when it is created; later writers come through doors of their own:
// the scheduler binds it, the kubelet reports its status, people resize it, add ephemeral containers, and evict it.
func pod() *Resource {
	return Kind[*corev1.Pod]{
		Resource: Resource{
			Plural: "pods", Singular: "pod", Kind: "Pod", ShortNames: []string{"po"}, Categories: []string{"all"},
			Namespaced: true, Prefix: "pods", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true,
			UpdateMeta:          UpdateAndCreateRules,
			Reset:               []string{"status"},
			ValidateName:        apivalidation.NameIsDNSSubdomain,
			Columns:             podColumns(),
			Subresources: []Subresource{
				podBinding(), podEviction(),
				podLog(), podExec(), podAttach(), podPortForward(), podProxy(),
			},
		},
		Default:       defaultPod,
		Normalize:     normalizePod,
		Prepare:       preparePod,
		Validate:      validatePod,
		Warn:          podWarnings,
		GracePeriod:   podGracePeriod,
		Cells:         podCells,
		RowConditions: podRowConditions,
		Fields:        podFields(),
		Status:        podStatusDoor(),
		Doors: map[string]Door[*corev1.Pod]{
			"ephemeralcontainers": podEphemeralDoor(),
			"resize":              podResizeDoor(),
		},
	}.row()
}

// podFields are the selectable fields. spec.host is what spec.nodeName was called once; status.podIPs may be named, and
// matches nothing.
func podFields() []Field[*corev1.Pod] {
	nodeName := func(p *corev1.Pod) string { return p.Spec.NodeName }
	return []Field[*corev1.Pod]{
		{Path: "spec.nodeName", Indexed: true, Value: nodeName},
		{Path: "spec.host", Value: nodeName},
		{Path: "spec.restartPolicy", Value: func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) }},
		{Path: "spec.schedulerName", Value: func(p *corev1.Pod) string { return p.Spec.SchedulerName }},
		{Path: "spec.serviceAccountName", Value: func(p *corev1.Pod) string { return p.Spec.ServiceAccountName }},
		{Path: "spec.hostNetwork", Value: func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) }},
		{Path: "status.phase", Value: func(p *corev1.Pod) string { return string(p.Status.Phase) }},
		{Path: "status.podIP", Value: func(p *corev1.Pod) string { return p.Status.PodIP }},
		{Path: "status.podIPs", Value: func(*corev1.Pod) string { return "" }},
		{Path: "status.nominatedNodeName", Value: func(p *corev1.Pod) string { return p.Status.NominatedNodeName }},
	}
}

// podGracePeriod is the time that the containers get to end. A pod that never reached a node, or has finished, needs none.
func podGracePeriod(p *corev1.Pod, asked *int64) int64 {
	if p.Spec.NodeName == "" || isPodFinished(p) {
		return 0
	}
	if asked == nil {
		asked = p.Spec.TerminationGracePeriodSeconds
	}
	switch {
	case asked == nil:
		return 0
	case *asked < 0:
		return 1
	}
	return *asked
}

// isPodFinished reports that no container runs or will run again.
func isPodFinished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func isPodReady(p *corev1.Pod) bool {
	c := podCondition(&p.Status, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// podCondition finds a condition; nil if there is none of the type.
func podCondition(s *corev1.PodStatus, of corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == of {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setPodCondition adds a condition or replaces the one of its type; the time is that of the last change of its status.
func setPodCondition(s *corev1.PodStatus, c corev1.PodCondition, now metav1.Time) {
	c.LastTransitionTime = now
	former := podCondition(s, c.Type)
	if former == nil {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if former.Status == c.Status {
		c.LastTransitionTime = former.LastTransitionTime
	}
	*former = c
}
