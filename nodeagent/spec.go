package nodeagent

import (
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// role is what a container is for.
type role int

const (
	initRole role = iota
	sidecarRole
	regularRole
	ephemeralRole
)

// containers are all of a pod, in the order of the spec.
func containers(p *corev1.Pod) iter.Seq2[role, *corev1.Container] {
	return func(yield func(role, *corev1.Container) bool) {
		for i := range p.Spec.InitContainers {
			c := &p.Spec.InitContainers[i]
			r := initRole
			if isSidecar(c) {
				r = sidecarRole
			}
			if !yield(r, c) {
				return
			}
		}
		for i := range p.Spec.Containers {
			if !yield(regularRole, &p.Spec.Containers[i]) {
				return
			}
		}
		for i := range p.Spec.EphemeralContainers {
			if !yield(ephemeralRole, (*corev1.Container)(&p.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// containerNamed is a container of the pod; nil if it has none of that name.
func containerNamed(p *corev1.Pod, name string) *corev1.Container {
	for _, c := range containers(p) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// isSidecar reports whether an init container keeps running beside the regular ones.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// restartsAfter reports whether a container that ended with a code is started again: by its own rules, then by its own
// policy, then by the pod's. A sidecar always is, an init container under Always only after a failure.
func restartsAfter(p *corev1.Pod, c *corev1.Container, code int32) bool {
	if c.RestartPolicy != nil {
		if rule := ruleFor(c, code); rule != nil {
			return rule.Action == corev1.ContainerRestartRuleActionRestart || rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}
		switch *c.RestartPolicy {
		case corev1.ContainerRestartPolicyAlways:
			return true
		case corev1.ContainerRestartPolicyNever:
			return false
		}
		return code != 0
	}
	switch p.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

func fitsExitCodes(on *corev1.ContainerRestartRuleOnExitCodes, code int32) bool {
	return (on.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) == slices.Contains(on.Values, code)
}

// definition tells containers apart that have to be started again when it changes: by name and image, as all else of a
// container that runs cannot change, or need not have it started again.
func definition(c *corev1.Container) string {
	sum := fnv.New32a()
	sum.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(uint64(sum.Sum32()), 16)
}

// redefined reports whether a run is of another definition.
func redefined(c *corev1.Container, r *run) bool {
	return r.definition != "" && r.definition != definition(c)
}

// restartsWhenUnwell reports whether a container whose probe failed is started again. Its exit code is not known yet, so
// rules do not count.
func restartsWhenUnwell(p *corev1.Pod, c *corev1.Container) bool {
	if c.RestartPolicy != nil {
		return *c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	return p.Spec.RestartPolicy != corev1.RestartPolicyNever
}

func finished(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// bareID is a container's ID without the runtime's name in front of it.
func bareID(id string) string {
	_, bare, _ := strings.Cut(id, "://")
	return bare
}

// podLabel is a pod as messages name it.
func podLabel(p *corev1.Pod) string { return p.Name + "_" + p.Namespace + "(" + string(p.UID) + ")" }
