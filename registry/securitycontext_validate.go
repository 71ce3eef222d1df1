package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"
)

// validatePodSecurityContext is about the security settings of all containers. Whether a pod may have them is not
// decided here but in admission.
func validatePodSecurityContext(spec *corev1.PodSpec, path *field.Path, opts podOptions) field.ErrorList {
	var errs field.ErrorList
	if shared := spec.ShareProcessNamespace; shared != nil && *shared && spec.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	s := spec.SecurityContext
	if s == nil {
		return errs
	}
	for i := range s.SupplementalGroups {
		errs = append(errs, validateGroupID(&s.SupplementalGroups[i], path.Child("supplementalGroups").Index(i))...)
	}
	return slices.Concat(errs,
		validateUserID(s.RunAsUser, path.Child("runAsUser")),
		validateGroupID(s.RunAsGroup, path.Child("runAsGroup")),
		validateGroupID(s.FSGroup, path.Child("fsGroup")),
		validateSysctls(spec, path.Child("sysctls"), opts),
		validateOptionalChoice(s.FSGroupChangePolicy, path.Child("fsGroupChangePolicy"), corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch),
		validateSeccompProfile(s.SeccompProfile, path.Child("seccompProfile")),
		validateAppArmorProfile(s.AppArmorProfile, path.Child("appArmorProfile")),
		validateWindowsOptions(s.WindowsOptions, path.Child("windowsOptions")),
		validateOptionalChoice(s.SupplementalGroupsPolicy, path.Child("supplementalGroupsPolicy"),
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict),
		validateSELinuxChangePolicy(s.SELinuxChangePolicy, path.Child("seLinuxChangePolicy"), opts),
	)
}

func validateUserID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalidValue(path, *id, validation.IsValidUserID(*id))
}

func validateGroupID(id *int64, path *field.Path) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalidValue(path, *id, validation.IsValidGroupID(*id))
}

// validateSELinuxChangePolicy: MountOption is off in this release, but kept in pods that have a policy.
func validateSELinuxChangePolicy(policy *corev1.PodSELinuxChangePolicy, path *field.Path, opts podOptions) field.ErrorList {
	if opts.mountOptionSELinux {
		return validateOptionalChoice(policy, path, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
	return validateOptionalChoice(policy, path, corev1.SELinuxChangePolicyRecursive)
}

const sysctlSegment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"

// sysctlName is segments joined by dots, or by slashes.
var sysctlName = regexp.MustCompile(`^(` + sysctlSegment + `[\./])*` + sysctlSegment + `$`)

func validateSysctls(spec *corev1.PodSpec, path *field.Path, opts podOptions) field.ErrorList {
	const longest = 253
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, s := range spec.SecurityContext.Sysctls {
		at := path.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > longest || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", longest, sysctlName)))
		case seen.Has(s.Name):
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		seen.Insert(s.Name)
		if flag := hostSysctl(s.Name, spec); flag != "" && !opts.hostSysctls {
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when '"+flag+"' is true"))
		}
	}
	return errs
}

// hostSysctl names the flag by which the pod shares the namespace of the sysctl with the host; setting it would change
// the host. It is empty where the pod has a namespace of its own.
func hostSysctl(name string, spec *corev1.PodSpec) string {
	switch namespace, _, _ := sysctl.GetNamespace(name); {
	case spec.HostNetwork && namespace == sysctl.NetNamespace:
		return "hostNetwork"
	case spec.HostIPC && namespace == sysctl.IPCNamespace:
		return "hostIPC"
	}
	return ""
}

// validateSecurityContext is about the settings of one container.
func validateSecurityContext(s *corev1.SecurityContext, hostUsers bool, path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	return slices.Concat(
		validateUserID(s.RunAsUser, path.Child("runAsUser")),
		validateGroupID(s.RunAsGroup, path.Child("runAsGroup")),
		validateProcMount(s.ProcMount, hostUsers, path.Child("procMount")),
		validateSeccompProfile(s.SeccompProfile, path.Child("seccompProfile")),
		validatePrivilegeEscalation(s, path),
		validateWindowsOptions(s.WindowsOptions, path.Child("windowsOptions")),
		validateAppArmorProfile(s.AppArmorProfile, path.Child("appArmorProfile")),
	)
}

// validateProcMount lets a container see all of /proc only if its root is not the host's.
func validateProcMount(mount *corev1.ProcMountType, hostUsers bool, path *field.Path) field.ErrorList {
	errs := validateOptionalChoice(mount, path, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
	if mount != nil && *mount == corev1.UnmaskedProcMount && hostUsers {
		errs = append(errs, field.Invalid(path, *mount, "`hostUsers` must be false to use `Unmasked`"))
	}
	return errs
}

// validatePrivilegeEscalation keeps a container from being refused and given the same powers.
func validatePrivilegeEscalation(s *corev1.SecurityContext, path *field.Path) field.ErrorList {
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		return nil
	}
	var errs field.ErrorList
	if s.Privileged != nil && *s.Privileged {
		errs = append(errs, field.Invalid(path, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if s.Capabilities != nil {
		for _, c := range s.Capabilities.Add {
			if c == "CAP_SYS_ADMIN" {
				errs = append(errs, field.Invalid(path, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
			}
		}
	}
	return errs
}

func validateSeccompProfile(p *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, validateChoice(p.Type, path.Child("type"),
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	file := path.Child("localhostProfile")
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		errs = append(errs, field.Required(file, "must be set when seccomp type is Localhost"))
	case local:
		errs = append(errs, validateDescendingPath(*p.LocalhostProfile, file)...)
	case p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(file, p, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

func validateAppArmorProfile(p *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	file := path.Child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		return validateAppArmorFile(p.LocalhostProfile, file)
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(file, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(path.Child("type"), "type is required when appArmorProfile is set")}
	}
	return validateChoice(p.Type, path.Child("type"),
		corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

// validateAppArmorFile is about the name of a profile on the node, which is as long as a path may be.
func validateAppArmorFile(profile *string, path *field.Path) field.ErrorList {
	const missing, longest = "must be set when AppArmor type is Localhost", 4095
	if profile == nil {
		return field.ErrorList{field.Required(path, missing)}
	}
	var errs field.ErrorList
	switch name := strings.TrimSpace(*profile); {
	case name != *profile:
		errs = append(errs, field.Invalid(path, *profile, "must not be padded with whitespace"))
	case name == "":
		errs = append(errs, field.Required(path, missing))
	}
	if len(*profile) > longest {
		errs = append(errs, field.TooLong(path, "", longest))
	}
	return errs
}
