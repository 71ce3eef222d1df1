package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// A pod has three lists of containers. Containers run as long as the pod; init containers run before, one after the
// other, save those that always restart (sidecars), which go on beside the containers; ephemeral containers are added
// to look into a running pod. Names are unique over all three.

func (p *podSpecCheck) validateContainers(path *field.Path) field.ErrorList {
	containers := p.spec.Containers
	if len(containers) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range containers {
		c, at := &containers[i], path.Index(i)
		errs = append(errs, p.validateContainer(c, at)...)
		if names.Has(c.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		names.Insert(c.Name)
		errs = append(errs, p.validateProbes(c, at)...)
		errs = append(errs, validateContainerRestart(c, at)...)
	}
	return append(errs, validateHostPortsUnique(containers, path)...)
}

func (p *podSpecCheck) validateInitContainers(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := containerNames(p.spec.Containers)
	for i := range p.spec.InitContainers {
		c, at := &p.spec.InitContainers[i], path.Index(i)
		errs = append(errs, p.validateContainer(c, at)...)
		errs = append(errs, validateInitRestart(c, at)...)
		if names.Has(c.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		} else if c.Name != "" {
			names.Insert(c.Name)
		}
		// Init containers do not run at once: each may have the ports of another. The index in this error's path is
		// that within the list of one.
		errs = append(errs, validateHostPortsUnique([]corev1.Container{*c}, path)...)
		if isSidecar(c) {
			errs = append(errs, p.validateProbes(c, at)...)
		} else {
			errs = append(errs, p.validateRunsOnce(c, at)...)
		}
	}
	return errs
}

// validateRunsOnce forbids an init container what only makes sense while the pod runs.
func (p *podSpecCheck) validateRunsOnce(c *corev1.Container, path *field.Path) field.ErrorList {
	const why = "may not be set for init containers without restartPolicy=Always"
	var errs field.ErrorList
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(path.Child(f.name), why))
		}
	}
	if p.opts.restartingInitResize {
		return errs
	}
	for i, r := range c.ResizePolicy {
		if r.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(path.Child("resizePolicy").Index(i).Child("restartPolicy"), r.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers"))
		}
	}
	return errs
}

func (p *podSpecCheck) validateEphemeralContainers(path *field.Path) field.ErrorList {
	if len(p.spec.EphemeralContainers) == 0 {
		return nil
	}
	const why = "cannot be set for an Ephemeral Container"
	var errs field.ErrorList
	targets := containerNames(p.spec.Containers).Union(containerNames(p.spec.InitContainers))
	names := targets.Clone()
	for i := range p.spec.EphemeralContainers {
		e, at := &p.spec.EphemeralContainers[i], path.Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		errs = append(errs, p.validateContainer(c, at)...)
		errs = append(errs, validateImageTrimmed(c, at)...)
		if names.Has(e.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), e.Name))
		}
		names.Insert(e.Name)
		if e.TargetContainerName != "" && !targets.Has(e.TargetContainerName) {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), e.TargetContainerName))
		}
		// A pod must not come to rely on a container that nothing restarts.
		errs = append(errs, validateUnset(e.EphemeralContainerCommon, at, why, "Name", "Image", "Command", "Args", "WorkingDir",
			"EnvFrom", "Env", "VolumeMounts", "VolumeDevices", "TerminationMessagePath", "TerminationMessagePolicy",
			"ImagePullPolicy", "SecurityContext", "Stdin", "StdinOnce", "TTY")...)
		// Mounts of sub-paths would stay until the pod ends.
		for j, m := range e.VolumeMounts {
			mount := at.Child("volumeMounts").Index(j)
			if m.SubPath != "" {
				errs = append(errs, field.Forbidden(mount.Child("subPath"), why))
			}
			if m.SubPathExpr != "" {
				errs = append(errs, field.Forbidden(mount.Child("subPathExpr"), why))
			}
		}
	}
	return errs
}

func containerNames(containers []corev1.Container) sets.Set[string] {
	names := sets.New[string]()
	for i := range containers {
		names.Insert(containers[i].Name)
	}
	return names
}

// validateContainer are the rules that hold for containers of all three lists.
func (p *podSpecCheck) validateContainer(c *corev1.Container, path *field.Path) field.ErrorList {
	return slices.Concat(
		validateRequiredLabel(c.Name, path.Child("name")),
		validateRequired(c.Image, path.Child("image")),
		validatePullPolicy(c.ImagePullPolicy, path.Child("imagePullPolicy")),
		validateRequiredChoice(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
			corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError),
		validateContainerPorts(c.Ports, path.Child("ports")),
		validateEnv(c.Env, path.Child("env")),
		validateEnvFrom(c.EnvFrom, path.Child("envFrom")),
		p.validateVolumeMounts(c, path.Child("volumeMounts")),
		p.validateVolumeDevices(c, path.Child("volumeDevices")),
		validateResourceRequirements(&c.Resources, p.claims, path.Child("resources"), p.opts),
		validateResizePolicy(c.ResizePolicy, p.spec.RestartPolicy, path.Child("resizePolicy")),
		validateSecurityContext(c.SecurityContext, usesHostUsers(p.spec), path.Child("securityContext")),
	)
}

// validateImageTrimmed is for containers that will run; a template may hold the place of an image with a blank.
func validateImageTrimmed(c *corev1.Container, path *field.Path) field.ErrorList {
	if strings.TrimSpace(c.Image) != c.Image {
		return field.ErrorList{field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace")}
	}
	return nil
}

func validatePullPolicy(policy corev1.PullPolicy, path *field.Path) field.ErrorList {
	return validateRequiredChoice(policy, path, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func validateContainerPorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range ports {
		at := path.Index(i)
		if port.Name != "" {
			if complaints := validation.IsValidPortName(port.Name); len(complaints) > 0 {
				errs = append(errs, invalidValue(at.Child("name"), port.Name, complaints)...)
			} else if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			} else {
				names.Insert(port.Name)
			}
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, invalidValue(at.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))...)
		}
		if port.HostPort != 0 {
			errs = append(errs, invalidValue(at.Child("hostPort"), port.HostPort, validation.IsValidPortNum(int(port.HostPort)))...)
		}
		errs = append(errs, validateRequiredChoice(port.Protocol, at.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	}
	return errs
}

// validateHostPortsUnique wants no two of the containers to take the same port of the node.
func validateHostPortsUnique(containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	taken := sets.New[string]()
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			address := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken.Has(address) {
				errs = append(errs, field.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), address))
			}
			taken.Insert(address)
		}
	}
	return errs
}

// validateResizePolicy is about what a change of resources does to the container. A container that never restarts
// cannot be restarted for it.
func validateResizePolicy(policies []corev1.ContainerResizePolicy, pod corev1.RestartPolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceName]()
	for i, p := range policies {
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		errs = append(errs, validateRequiredChoice(p.ResourceName, path, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, validateRequiredChoice(p.RestartPolicy, path, corev1.NotRequired, corev1.RestartContainer)...)
		if pod == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}

// validateContainerRestart is about a container's own restart policy, and its exceptions by exit code.
func validateContainerRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := validateOptionalChoice(c.RestartPolicy, path.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
		corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	return slices.Concat(errs, validateRulesHavePolicy(c, path), validateRestartRules(c.RestartPolicyRules, path.Child("restartPolicyRules")))
}

// validateInitRestart does not look at the rules of an init container without a policy: that error comes first.
func validateInitRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	if c.RestartPolicy == nil {
		return validateRulesHavePolicy(c, path)
	}
	return validateContainerRestart(c, path)
}

func validateRulesHavePolicy(c *corev1.Container, path *field.Path) field.ErrorList {
	if c.RestartPolicy != nil || len(c.RestartPolicyRules) == 0 {
		return nil
	}
	return field.ErrorList{field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")}
}

func validateRestartRules(rules []corev1.ContainerRestartRule, path *field.Path) field.ErrorList {
	const mostRules, mostCodes = 20, 255
	var errs field.ErrorList
	if len(rules) > mostRules {
		errs = append(errs, field.TooMany(path, len(rules), mostRules))
	}
	for i, rule := range rules {
		at := path.Index(i)
		errs = append(errs, validateChoice(rule.Action, at.Child("action"),
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, validateChoice(rule.ExitCodes.Operator, at.Child("exitCodes", "operator"),
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(rule.ExitCodes.Values); n > mostCodes {
			errs = append(errs, field.TooMany(at.Child("exitCodes", "values"), n, mostCodes))
		}
	}
	return errs
}
