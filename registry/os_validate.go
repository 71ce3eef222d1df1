package registry

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What belongs to one operating system only, and what a pod shares with its host.

// validateOS wants a pod that names its operating system to have no settings of another.
func validateOS(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	if spec.OS.Name == "" {
		return field.ErrorList{field.Required(path.Child("os", "name"), "")}
	}
	switch spec.OS.Name {
	case corev1.Linux:
		return validateLinuxPod(spec, path)
	case corev1.Windows:
		return validateWindowsPod(spec, path)
	}
	return validateChoice(spec.OS.Name, path.Child("os"), corev1.Linux, corev1.Windows)
}

func validateLinuxPod(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	const why = "windows options cannot be set for a linux pod"
	var errs field.ErrorList
	if s := spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(path.Child("securityContext", "windowsOptions"), why))
	}
	for at, c := range eachContainerAt(spec, path) {
		if s := c.SecurityContext; s != nil && s.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), why))
		}
	}
	return errs
}

func validateWindowsPod(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(set bool, at *field.Path, name string) {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), "cannot be set for a windows pod"))
		}
	}
	forbid(spec.HostUsers != nil, path, "hostUsers")
	forbid(spec.HostPID, path, "hostPID")
	forbid(spec.HostIPC, path, "hostIPC")
	forbid(spec.ShareProcessNamespace != nil, path, "shareProcessNamespace")
	if s, at := spec.SecurityContext, path.Child("securityContext"); s != nil {
		forbid(s.AppArmorProfile != nil, at, "appArmorProfile")
		forbid(s.SELinuxOptions != nil, at, "seLinuxOptions")
		forbid(s.SeccompProfile != nil, at, "seccompProfile")
		forbid(s.FSGroup != nil, at, "fsGroup")
		forbid(s.FSGroupChangePolicy != nil, at, "fsGroupChangePolicy")
		forbid(len(s.Sysctls) > 0, at, "sysctls")
		forbid(s.RunAsUser != nil, at, "runAsUser")
		forbid(s.RunAsGroup != nil, at, "runAsGroup")
		forbid(s.SupplementalGroups != nil, at, "supplementalGroups")
		forbid(s.SupplementalGroupsPolicy != nil, at, "supplementalGroupsPolicy")
		forbid(s.SELinuxChangePolicy != nil, at, "seLinuxChangePolicy")
	}
	for at, c := range eachContainerAt(spec, path) {
		if s, at := c.SecurityContext, at.Child("securityContext"); s != nil {
			forbid(s.AppArmorProfile != nil, at, "appArmorProfile")
			forbid(s.SELinuxOptions != nil, at, "seLinuxOptions")
			forbid(s.SeccompProfile != nil, at, "seccompProfile")
			forbid(s.Capabilities != nil, at, "capabilities")
			forbid(s.ReadOnlyRootFilesystem != nil, at, "readOnlyRootFilesystem")
			forbid(s.Privileged != nil, at, "privileged")
			forbid(s.AllowPrivilegeEscalation != nil, at, "allowPrivilegeEscalation")
			forbid(s.ProcMount != nil, at, "procMount")
			forbid(s.RunAsUser != nil, at, "runAsUser")
			forbid(s.RunAsGroup != nil, at, "runAsGroup")
		}
	}
	return errs
}

// validateHostProcess is about Windows containers that are processes of the host: all of a pod's, or none.
func validateHostProcess(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var ofPod *bool
	if s := spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		ofPod = s.WindowsOptions.HostProcess
	}
	all, onHost := 0, 0
	for at, c := range eachContainerAt(spec, path) {
		all++
		process := ofPod
		if s := c.SecurityContext; s != nil && s.WindowsOptions != nil && s.WindowsOptions.HostProcess != nil {
			process = s.WindowsOptions.HostProcess
			if ofPod != nil && *ofPod != *process {
				errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *process,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *ofPod)))
			}
		}
		if process != nil && *process {
			onHost++
		}
	}
	if onHost > 0 && onHost != all {
		errs = append(errs, field.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if onHost > 0 && !spec.HostNetwork {
		errs = append(errs, field.Invalid(path.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}

// validateHostUsers keeps a pod in a user namespace from those of the host's namespaces in which its users would be
// strangers.
func validateHostUsers(spec *corev1.PodSpec, path *field.Path, opts podOptions) field.ErrorList {
	const why = "when `hostUsers` is false"
	if usesHostUsers(spec) {
		return nil
	}
	var errs field.ErrorList
	if spec.HostNetwork && !opts.userNamespaceHostNetwork {
		errs = append(errs, field.Forbidden(path.Child("hostNetwork"), why))
	}
	if spec.HostPID {
		errs = append(errs, field.Forbidden(path.Child("HostPID"), why))
	}
	if spec.HostIPC {
		errs = append(errs, field.Forbidden(path.Child("HostIPC"), why))
	}
	for at, c := range eachContainerAt(spec, path) {
		if len(c.VolumeDevices) > 0 && !opts.userNamespaceDevices {
			errs = append(errs, field.Forbidden(at.Child("volumeDevices"), why))
		}
	}
	return errs
}

// validateHostPorts wants the ports of a pod on the host's network to be the host's. In a template they may be left
// out: the pod's defaults will fill them in.
func validateHostPorts(spec *corev1.PodSpec, inPod bool, path *field.Path) field.ErrorList {
	if !spec.HostNetwork {
		return nil
	}
	var errs field.ErrorList
	for i, c := range spec.Containers {
		for j, port := range c.Ports {
			if port.HostPort != port.ContainerPort && (inPod || port.HostPort != 0) {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"),
					port.HostPort, "must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

func validateWindowsOptions(w *corev1.WindowsSecurityContextOptions, path *field.Path) field.ErrorList {
	const longestSpecKiB = 64
	if w == nil {
		return nil
	}
	var errs field.ErrorList
	if w.GMSACredentialSpecName != nil {
		errs = append(errs, invalidValue(path.Child("gmsaCredentialSpecName"), w.GMSACredentialSpecName,
			validation.IsDNS1123Subdomain(*w.GMSACredentialSpecName))...)
	}
	if w.GMSACredentialSpec != nil {
		switch spec, at := *w.GMSACredentialSpec, path.Child("gmsaCredentialSpec"); {
		case spec == "":
			errs = append(errs, field.Invalid(at, w.GMSACredentialSpec, "gmsaCredentialSpec cannot be an empty string"))
		case len(spec) > longestSpecKiB*1024:
			errs = append(errs, field.Invalid(at, w.GMSACredentialSpec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", longestSpecKiB)))
		}
	}
	if w.RunAsUserName != nil {
		for _, complaint := range windowsUserComplaints(*w.RunAsUserName) {
			errs = append(errs, field.Invalid(path.Child("runAsUserName"), w.RunAsUserName, "runAsUserName"+complaint))
		}
	}
	return errs
}

// The parts of DOMAIN\user, as Windows' naming conventions for domains and users have them.
var (
	windowsNetBIOSName = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	windowsDNSName     = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

// windowsUserComplaints is about the name of a Windows user, with or without a domain. Complaints go on after the name
// of the field.
func windowsUserComplaints(name string) []string {
	const longestDomain, longestUser = 256, 104
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	switch {
	case name == "":
		return []string{" cannot be an empty string"}
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return []string{" cannot contain control characters"}
	case strings.Contains(user, `\`):
		return []string{" cannot contain more than one backslash"}
	}
	var complaints []string
	if len(domain) >= longestDomain {
		complaints = append(complaints, fmt.Sprintf("'s Domain length must be under %d characters", longestDomain))
	}
	if qualified && !windowsNetBIOSName.MatchString(domain) && !windowsDNSName.MatchString(domain) {
		complaints = append(complaints, "'s Domain doesn't match the NetBios nor the DNS format")
	}
	switch {
	case user == "":
		complaints = append(complaints, "'s User cannot be empty")
	case len(user) > longestUser:
		complaints = append(complaints, fmt.Sprintf("'s User length must not be longer than %d characters", longestUser))
	}
	if user != "" && strings.Trim(user, ". ") == "" {
		complaints = append(complaints, "'s User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		complaints = append(complaints, `'s User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return complaints
}

// usesHostUsers is false for a pod in a user namespace of its own.
func usesHostUsers(spec *corev1.PodSpec) bool { return spec.HostUsers == nil || *spec.HostUsers }
