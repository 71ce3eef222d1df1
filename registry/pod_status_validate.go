package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

func validatePodConditions(conditions []corev1.PodCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range conditions {
		errs = append(errs, validateGeneration(c.ObservedGeneration, path.Index(i).Child("observedGeneration"))...)
		errs = append(errs, validateQualifiedName(string(c.Type), path.Index(i).Child("Type"))...)
	}
	return errs
}

func validateGeneration(seen int64, path *field.Path) field.ErrorList {
	if seen < 0 {
		return field.ErrorList{field.Invalid(path, seen, "must be a non-negative integer")}
	}
	return nil
}

// validateNominatedNode: a nomination is for pods that have no node yet.
func validateNominatedNode(p, old *corev1.Pod, path *field.Path) field.ErrorList {
	name := p.Status.NominatedNodeName
	if name == "" || name == old.Status.NominatedNodeName {
		return nil
	}
	errs := validateDNSSubdomain(name, path)
	if old.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(path, "may not be set on pods that are already bound to a node"))
	}
	return errs
}

// validateRevivals refuses to bring a terminated container back that is not to be restarted. Ephemeral containers never
// are; their spec is nil.
func validateRevivals(now, old []corev1.ContainerStatus, containers []corev1.Container, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	if spec != nil && anyRestartsAll(spec) {
		return nil
	}
	var errs field.ErrorList
	for i, former := range old {
		if former.State.Terminated == nil {
			continue
		}
		named := func(s corev1.ContainerStatus) bool { return s.Name == former.Name && s.State.Terminated == nil }
		if !slices.ContainsFunc(now, named) || spec != nil && wouldRestart(containers, spec, former.Name, former.State.Terminated.ExitCode) {
			continue
		}
		errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
	}
	return errs
}

// anyRestartsAll reports that the end of some container can bring all of them back.
func anyRestartsAll(spec *corev1.PodSpec) bool {
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range containers {
			for _, rule := range c.RestartPolicyRules {
				if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// wouldRestart reports that the named container is started again after it ended with code: by the first of its rules that
// matches, else by its own policy, else by the pod's.
func wouldRestart(containers []corev1.Container, spec *corev1.PodSpec, name string, code int32) bool {
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		return false
	}
	policy := string(spec.RestartPolicy)
	if own := containers[i].RestartPolicy; own != nil {
		if slices.ContainsFunc(containers[i].RestartPolicyRules, func(r corev1.ContainerRestartRule) bool { return exitMatches(r, code) }) {
			return true // all actions of rules are restarts
		}
		policy = string(*own)
	}
	switch policy {
	case string(corev1.RestartPolicyNever):
		return false
	case string(corev1.RestartPolicyOnFailure):
		return code != 0
	}
	return true
}

func exitMatches(r corev1.ContainerRestartRule, code int32) bool {
	if r.ExitCodes == nil {
		return false
	}
	listed := slices.Contains(r.ExitCodes.Values, code)
	switch r.ExitCodes.Operator {
	case corev1.ContainerRestartRuleOnExitCodesOpIn:
		return listed
	case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
		return !listed
	}
	return false
}

func validateClaimStatuses(statuses []corev1.PodResourceClaimStatus, claims []corev1.PodResourceClaim, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, s := range statuses {
		at := path.Index(i)
		if !slices.ContainsFunc(claims, func(c corev1.PodResourceClaim) bool { return c.Name == s.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if seen.Has(s.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), s.Name))
		}
		seen.Insert(s.Name)
		if s.ResourceClaimName != nil {
			errs = append(errs, validateDNSSubdomain(*s.ResourceClaimName, at.Child("resourceClaimName"))...)
		}
	}
	return errs
}

// validateExtendedClaimStatus: each mapping is of a resource that a container requests.
func validateExtendedClaimStatus(status *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	if status == nil {
		return nil
	}
	var errs field.ErrorList
	if len(status.RequestMappings) == 0 {
		errs = append(errs, field.Required(path.Child("requestMappings"), "at least one request mapping is required"))
	}
	seen := sets.New[corev1.ContainerExtendedResourceRequest]()
	for i, m := range status.RequestMappings {
		at := path.Child("requestMappings").Index(i)
		errs = append(errs, validateRequestMapping(m, spec, at)...)
		errs = append(errs, validateDNSLabel(m.RequestName, path.Child("requestName"))...)
		if seen.Has(m) {
			errs = append(errs, field.Duplicate(at.Child("containerName"), m.ContainerName),
				field.Duplicate(at.Child("resourceName"), m.ResourceName), field.Duplicate(at.Child("requestName"), m.RequestName))
		}
		seen.Insert(m)
	}
	if status.ResourceClaimName == "" {
		return append(errs, field.Required(path.Child("resourceClaimName"), ""))
	}
	return append(errs, validateDNSSubdomain(status.ResourceClaimName, path.Child("resourceClaimName"))...)
}

func validateRequestMapping(m corev1.ContainerExtendedResourceRequest, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for _, c := range containers {
			if c.Name != m.ContainerName {
				continue
			}
			if _, found := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; found {
				return nil
			}
			return field.ErrorList{field.Invalid(path.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")}
		}
	}
	return field.ErrorList{field.Invalid(path.Child("containerName"), m.ContainerName,
		"must match the name of an entry in spec.initContainers.name or spec.containers.name")}
}

// validateAllocatableClaimStatuses is met by pods only that a cluster with DRANodeAllocatableResources has written.
func validateAllocatableClaimStatuses(s *corev1.PodStatus, spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	known := sets.New[string]()
	for _, c := range spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			known.Insert(*c.ResourceClaimName)
		}
	}
	for _, c := range s.ResourceClaimStatuses {
		if c.ResourceClaimName != nil {
			known.Insert(*c.ResourceClaimName)
		}
	}
	var errs field.ErrorList
	for i, status := range s.NodeAllocatableResourceClaimStatuses {
		errs = append(errs, validateAllocatableClaimStatus(&status, known, path.Index(i))...)
	}
	return errs
}

func validateAllocatableClaimStatus(s *corev1.NodeAllocatableResourceClaimStatus, known sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.ResourceClaimName == "" {
		errs = append(errs, field.Required(path.Child("resourceClaimName"), "must not be empty"))
	}
	if !known.Has(s.ResourceClaimName) {
		errs = append(errs, field.Invalid(path.Child("resourceClaimName"), s.ResourceClaimName, "no mapping found in pod reference"))
	}
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "must not be empty"))
	}
	if len(s.Resources) == 0 {
		errs = append(errs, field.Required(path.Child("resources"), "must not be empty"))
	}
	for _, name := range sortedKeys(s.Resources) {
		at := path.Child("resources").Key(string(name))
		if strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix) {
			errs = append(errs, field.Invalid(at, name, "must be a node allocatable resource name"))
		}
		if quantity := s.Resources[name]; quantity.Sign() < 0 {
			errs = append(errs, field.Invalid(at, quantity.String(), "must be non-negative"))
		}
	}
	return errs
}

func validatePodIPs(s, old *corev1.PodStatus, path *field.Path) field.ErrorList {
	var ips, known []string
	for _, a := range s.PodIPs {
		ips = append(ips, a.IP)
	}
	for _, a := range old.PodIPs {
		known = append(known, a.IP)
	}
	return validateIPPair(ips, known, s.PodIPs, path)
}

func validateHostIPs(s, old *corev1.PodStatus, path *field.Path) field.ErrorList {
	if len(s.HostIPs) == 0 {
		return nil
	}
	var errs field.ErrorList
	if s.HostIP != s.HostIPs[0].IP {
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`"))
	}
	var ips, known []string
	for _, a := range s.HostIPs {
		ips = append(ips, a.IP)
	}
	for _, a := range old.HostIPs {
		known = append(known, a.IP)
	}
	return append(errs, validateIPPair(ips, known, s.HostIPs, path)...)
}

// validateIPPair wants at most one address of each family; whole is the list as messages quote it. Addresses that the old
// object has may be spelt as they were.
func validateIPPair(ips, known []string, whole any, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range ips {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), ip, true, known)...)
	}
	if len(ips) < 2 {
		return errs
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		errs = append(errs, field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(ips) > 2 {
		errs = append(errs, field.Invalid(path, whole, "may specify no more than one IP for each IP family"))
	}
	return errs
}

// validateContainerUsers looks at the users that containers ran as; only Linux has them.
func validateContainerUsers(p *corev1.Pod, path *field.Path) field.ErrorList {
	windows := p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows
	var errs field.ErrorList
	check := func(name string, statuses []corev1.ContainerStatus) {
		for i, s := range statuses {
			if s.User == nil || s.User.Linux == nil {
				continue
			}
			at := path.Child(name).Index(i).Child("user", "linux")
			if windows {
				errs = append(errs, field.Forbidden(at, "cannot be set for a windows pod"))
			} else {
				errs = append(errs, validateLinuxUser(s.User.Linux, at)...)
			}
		}
	}
	check("containerStatuses", p.Status.ContainerStatuses)
	check("initContainerStatuses", p.Status.InitContainerStatuses)
	check("ephemeralContainerStatuses", p.Status.EphemeralContainerStatuses)
	return errs
}

func validateLinuxUser(u *corev1.LinuxContainerUser, path *field.Path) field.ErrorList {
	errs := append(invalidValue(path.Child("uid"), u.UID, validation.IsValidUserID(u.UID)),
		invalidValue(path.Child("gid"), u.GID, validation.IsValidGroupID(u.GID))...)
	for i, gid := range u.SupplementalGroups {
		errs = append(errs, invalidValue(path.Child("supplementalGroups").Index(i), gid, validation.IsValidGroupID(gid))...)
	}
	return errs
}

// validateResourceHealth: devices are reported healthy or not for resources that the container asks for. Statuses of
// containers that the spec does not have are let through.
func validateResourceHealth(statuses []corev1.ContainerStatus, containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range statuses {
		at := path.Index(i).Child("allocatedResourcesStatus")
		of := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
		for j, r := range s.AllocatedResourcesStatus {
			if of >= 0 {
				errs = append(errs, validateHealthName(r.Name, &containers[of].Resources, at.Index(j).Child("name"))...)
			}
			errs = append(errs, validateDeviceHealth(r.Resources, at.Index(j).Child("resources"))...)
		}
	}
	return errs
}

// validateHealthName: "claim:NAME/REQUEST" or "claim:NAME" stands for a claim, all else is a requested resource.
func validateHealthName(name corev1.ResourceName, r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	if !strings.HasPrefix(string(name), "claim:") {
		if _, found := r.Requests[name]; !found {
			return field.ErrorList{field.Invalid(path, name, "must match one of the container's resource requests")}
		}
		return nil
	}
	for _, c := range r.Claims {
		claim := "claim:" + c.Name
		if c.Request != "" {
			claim += "/" + c.Request
		}
		if claim == string(name) {
			return nil
		}
	}
	return field.ErrorList{field.Invalid(path, name,
		"must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")}
}

func validateDeviceHealth(devices []corev1.ResourceHealth, path *field.Path) field.ErrorList {
	known := []corev1.ResourceHealthStatus{corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown}
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceID]()
	for i, d := range devices {
		at := path.Index(i)
		if !slices.Contains(known, d.Health) {
			errs = append(errs, field.NotSupported(at.Child("health"), d.Health, slices.Sorted(slices.Values(known))))
		}
		switch {
		case d.Message == nil:
		case *d.Message == "":
			errs = append(errs, field.Required(at.Child("message"), "must be non-empty if specified"))
		case len(*d.Message) > corev1.ResourceHealthMessageMaxLength:
			errs = append(errs, field.TooLong(at.Child("message"), *d.Message, corev1.ResourceHealthMessageMaxLength))
		}
		if seen.Has(d.ResourceID) {
			errs = append(errs, field.Duplicate(at.Child("resourceID"), d.ResourceID))
		}
		seen.Insert(d.ResourceID)
	}
	return errs
}
