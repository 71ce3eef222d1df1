package nodeagent

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// reading is all that a pod's status depends on.
type reading struct {
	pod     *corev1.Pod
	old     *corev1.PodStatus // as known before
	seen    *observed
	health  map[string]health
	trouble map[string]trouble
	verdict *verdict
	ending  bool // nothing is started any more
	over    bool // nothing is left to end
	// resizing is a change of the pod's resources, and resetting that all containers are being ended to be started again.
	resizing  resizing
	resetting bool
	granted   *corev1.Pod // with the resources that it has
	nodeIPs   []string
	runtime   string // its name, which IDs begin with
}

// podStatus is what the API is told of a pod: pure.
func podStatus(x *reading, now metav1.Time) corev1.PodStatus {
	x.granted = x.resizing.granted.in(x.pod)
	s := *x.old.DeepCopy()
	s.ObservedGeneration = x.pod.Generation
	if s.StartTime == nil {
		s.StartTime = &now
	}
	s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	if x.verdict != nil && x.verdict.refused {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, x.verdict.reason, "Pod was rejected: "+x.verdict.message
		return s
	}
	for role, c := range containers(x.granted) {
		status := x.containerStatus(role, c)
		switch role {
		case initRole, sidecarRole:
			s.InitContainerStatuses = append(s.InitContainerStatuses, status)
		case regularRole:
			s.ContainerStatuses = append(s.ContainerStatuses, status)
		default:
			s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, status)
		}
	}
	s.Phase = x.phase(&s)
	if s.Phase != x.old.Phase {
		s.Reason, s.Message = "", ""
	}
	if x.verdict != nil && (x.over || finished(x.old.Phase)) { // not before its containers have ended
		s.Phase, s.Reason, s.Message = corev1.PodFailed, x.verdict.reason, x.verdict.message
	}
	s.Resources, s.AllocatedResources = podResources(x.granted)
	x.addresses(&s)
	s.Conditions = x.conditions(&s, now)
	byName := func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(s.ContainerStatuses, byName)
	slices.SortFunc(s.EphemeralContainerStatuses, byName)
	return s
}

// podResources are those of a pod as a whole: its own where it says so, else what its containers have together.
func podResources(p *corev1.Pod) (*corev1.ResourceRequirements, corev1.ResourceList) {
	r := p.Spec.Resources.DeepCopy()
	if r == nil {
		r = &corev1.ResourceRequirements{}
	}
	r.Requests, r.Limits = resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}), resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	return r, resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
}

// addresses are the node's for pods that share its network, and the sandbox's for others.
func (x *reading) addresses(s *corev1.PodStatus) {
	if len(x.nodeIPs) > 0 {
		s.HostIP, s.HostIPs = x.nodeIPs[0], nil
		for _, ip := range x.nodeIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	ips := x.nodeIPs
	if !x.pod.Spec.HostNetwork {
		ips = nil
		if x.seen.sandbox != nil {
			ips = x.seen.sandbox.ips
		}
	}
	if len(ips) == 0 || finished(s.Phase) && s.PodIP != "" {
		return
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}

// containerStatus is the state of one container: that of its newest run, the end of the one before, or why it waits.
func (x *reading) containerStatus(role role, c *corev1.Container) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}
	if len(x.pod.Spec.InitContainers) > 0 {
		s.State.Waiting.Reason = "PodInitializing"
	}
	runs := x.seen.runs[c.Name]
	if len(runs) > 0 {
		r := &runs[0]
		s.RestartCount, s.Image, s.ImageID, s.ContainerID, s.State = r.attempt, r.image, r.imageID, x.id(r), x.state(r)
		s.AllocatedResources = c.Resources.Requests
		s.Resources = c.Resources.DeepCopy()
	}
	past, reset := x.seen.past[c.Name]
	switch {
	case len(runs) > 1:
		s.LastTerminationState = x.state(&runs[1])
	case reset:
		s.LastTerminationState = x.state(&past)
		if len(runs) == 0 {
			s.RestartCount = past.attempt + 1
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: restartingAll, Message: restartingAllMessage}
		}
	}
	s.VolumeMounts = mountStatuses(c)
	x.wait(c, role, runs, &s)
	x.judge(c, role, runs, &s)
	return s
}

func (x *reading) id(r *run) string {
	if r.id == "" {
		return ""
	}
	return x.runtime + "://" + r.id
}

func (x *reading) state(r *run) corev1.ContainerState {
	switch r.state {
	case runRunning:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(r.started)}}
	case runExited:
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: r.exitCode, Reason: r.reason, Message: r.message,
			StartedAt: metav1.NewTime(r.started), FinishedAt: metav1.NewTime(r.finished), ContainerID: x.id(r)}}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
}

// wait says of a container that should run but does not, and why: it is waiting, and its end is the last one.
func (x *reading) wait(c *corev1.Container, role role, runs []run, s *corev1.ContainerStatus) {
	t, troubled := x.trouble[c.Name]
	ended := s.State.Terminated
	switch {
	case !troubled || x.ending || s.State.Running != nil:
		return
	case ended != nil && (role == initRole && ended.ExitCode == 0 || !restartsAfter(x.pod, c, ended.ExitCode)):
		return
	}
	if ended != nil {
		s.LastTerminationState = s.State
	}
	s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: t.reason, Message: t.message}}
}

// judge says whether a container has started and is ready. A plain init container is ready when it is done.
func (x *reading) judge(c *corev1.Container, role role, runs []run, s *corev1.ContainerStatus) {
	if role == ephemeralRole {
		return
	}
	started := false
	if s.State.Running != nil {
		started = x.health[runs[0].id].started(c)
		s.Ready = role != initRole && x.health[runs[0].id].ready(c)
	}
	if role == initRole && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
		s.Ready = true
	}
	s.Started = &started
}

func mountStatuses(c *corev1.Container) (mounts []corev1.VolumeMountStatus) {
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			s.RecursiveReadOnly = &mode
		}
		mounts = append(mounts, s)
	}
	return mounts
}

// abandon marks what nobody knows the end of when a pod is over: it must not look as if it could still run.
func abandon(s *corev1.PodStatus) {
	initialized := slices.ContainsFunc(s.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.ContainerID != "" })
	if !initialized {
		return
	}
	for i := range s.ContainerStatuses {
		if c := &s.ContainerStatuses[i]; c.State.Terminated == nil {
			c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: statusUnknown,
				Message: "The container could not be located when the pod was terminated"}}
		}
	}
}
