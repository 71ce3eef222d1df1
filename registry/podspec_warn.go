package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podTemplateWarnings are about a template at path.
func podTemplateWarnings(path *field.Path, t *corev1.PodTemplateSpec) []string {
	return podSpecWarnings(path, &t.Spec, &t.ObjectMeta)
}

// podSpecWarnings are about what is valid and yet hardly meant: names of former times, things said twice, fields that no
// longer do anything. path is that of the template; a pod's is nil.
func podSpecWarnings(path *field.Path, spec *corev1.PodSpec, meta *metav1.ObjectMeta) []string {
	at := path.Child("spec")
	return slices.Concat(
		nodeChoiceWarnings(at, spec),
		topologySpreadWarnings(at.Child("topologySpreadConstraints"), spec.TopologySpreadConstraints),
		podAnnotationWarnings(path.Child("metadata", "annotations"), meta),
		volumeWarnings(at.Child("volumes"), spec.Volumes),
		overlappingPathWarnings(spec.Volumes),
		hostAliasWarnings(at.Child("hostAliases"), spec.HostAliases),
		pullSecretWarnings(at.Child("imagePullSecrets"), spec.ImagePullSecrets),
		fractionWarnings(at.Child("overhead"), spec.Overhead, corev1.ResourceMemory, corev1.ResourceEphemeralStorage),
		containerWarnings(path, spec, meta),
		portWarnings(at, spec),
		gracePeriodWarnings(at.Child("terminationGracePeriodSeconds"), spec.TerminationGracePeriodSeconds),
		podAffinityWarnings(at.Child("affinity"), spec.Affinity),
		addressWarnings(at, spec),
	)
}

// nodeChoiceWarnings are about node labels in node selector and node affinity.
func nodeChoiceWarnings(path *field.Path, spec *corev1.PodSpec) []string {
	var warnings []string
	for _, label := range sortedKeys(spec.NodeSelector) {
		if advice, former := deprecatedNodeLabel(label); former {
			warnings = append(warnings, fmt.Sprintf("%s: %s", path.Child("nodeSelector").Key(label), advice))
		}
	}
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return warnings
	}
	affinity := spec.Affinity.NodeAffinity
	path = path.Child("affinity", "nodeAffinity")
	if required := affinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		terms := path.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		for i, term := range required.NodeSelectorTerms {
			warnings = append(warnings, warnNodeSelectorTerm(term, false, terms.Index(i))...)
		}
	}
	preferred := path.Child("preferredDuringSchedulingIgnoredDuringExecution")
	for i, term := range affinity.PreferredDuringSchedulingIgnoredDuringExecution {
		warnings = append(warnings, warnNodeSelectorTerm(term.Preference, true, preferred.Index(i).Child("preference"))...)
	}
	return warnings
}

func topologySpreadWarnings(path *field.Path, constraints []corev1.TopologySpreadConstraint) []string {
	var warnings []string
	for i, c := range constraints {
		if advice, former := deprecatedNodeLabel(c.TopologyKey); former {
			warnings = append(warnings, fmt.Sprintf("%s: %s is %s", path.Index(i).Child("topologyKey"), c.TopologyKey, advice))
		}
		warnings = append(warnings, nullSelectorWarnings(path.Index(i).Child("labelSelector"), c.LabelSelector)...)
	}
	return warnings
}

func nullSelectorWarnings(path *field.Path, selector *metav1.LabelSelector) []string {
	if selector != nil {
		return nil
	}
	return []string{fmt.Sprintf("%s: a null labelSelector results in matching no pod", path)}
}

// podAnnotationWarnings are about annotations that have become fields and do nothing any more.
func podAnnotationWarnings(path *field.Path, meta *metav1.ObjectMeta) []string {
	var warnings []string
	for _, former := range [...]struct{ key, advice string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, found := meta.Annotations[former.key]; found {
			warnings = append(warnings, fmt.Sprintf("%s: %s", path.Key(former.key), former.advice))
		}
	}
	return warnings
}

func hostAliasWarnings(path *field.Path, aliases []corev1.HostAlias) []string {
	var warnings []string
	seen := map[string]bool{}
	for i, alias := range aliases {
		if seen[alias.IP] {
			warnings = append(warnings, fmt.Sprintf("%s: duplicate ip %q", path.Index(i).Child("ip"), alias.IP))
		}
		seen[alias.IP] = true
	}
	return warnings
}

func pullSecretWarnings(path *field.Path, secrets []corev1.LocalObjectReference) []string {
	var warnings, empty []string
	seen := map[string]bool{}
	for i, secret := range secrets {
		if seen[secret.Name] {
			warnings = append(warnings, fmt.Sprintf("%s: duplicate name %q", path.Index(i).Child("name"), secret.Name))
		}
		seen[secret.Name] = true
		if secret.Name == "" {
			empty = append(empty, fmt.Sprintf("%s: invalid empty name %q", path.Index(i).Child("name"), secret.Name))
		}
	}
	return append(warnings, empty...)
}

// fractionWarnings are about quantities of bytes that are no whole number.
func fractionWarnings(path *field.Path, list corev1.ResourceList, names ...corev1.ResourceName) []string {
	var warnings []string
	for _, name := range names {
		if q, found := list[name]; found && isFraction(q) {
			warnings = append(warnings, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Key(string(name)), q.String()))
		}
	}
	return warnings
}

func isFraction(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

// claimSpecWarnings are about a volume claim, or the template of one.
func claimSpecWarnings(path *field.Path, spec *corev1.PersistentVolumeClaimSpec) []string {
	path = path.Child("resources")
	return append(fractionWarnings(path.Child("requests"), spec.Resources.Requests, corev1.ResourceStorage),
		fractionWarnings(path.Child("limits"), spec.Resources.Limits, corev1.ResourceStorage)...)
}

// seccompAnnotationWarnings are about a seccomp annotation of a pod or container whose field says nothing.
func seccompAnnotationWarnings(path *field.Path, meta *metav1.ObjectMeta, key string, profile *corev1.SeccompProfile) []string {
	if _, found := meta.Annotations[key]; !found || profile != nil {
		return nil
	}
	return []string{fmt.Sprintf(`%s: non-functional in v1.27+; use the "seccompProfile" field instead`, path.Key(key))}
}

// appArmorAnnotationWarnings are about the annotation of a template's container whose field says nothing, unless the
// template's own profile says the same. A pod's annotations have become fields by now, see appArmorFields.
func appArmorAnnotationWarnings(path *field.Path, meta *metav1.ObjectMeta, pod, container *corev1.AppArmorProfile, name string) []string {
	key := appArmorPrefix + name
	annotation, found := meta.Annotations[key]
	if !found || container != nil || pod != nil && equal(pod, appArmorProfileOf(annotation)) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s", path.Key(key), appArmorAdvice)}
}

const appArmorAdvice = `deprecated since v1.30; use the "appArmorProfile" field instead`

// appArmorProfileOf reads an AppArmor annotation; nil if it makes no sense.
func appArmorProfileOf(annotation string) *corev1.AppArmorProfile {
	switch annotation {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	name, local := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	if !local || name == "" {
		return nil
	}
	return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
}

// containerWarnings are about each container for itself.
func containerWarnings(path *field.Path, spec *corev1.PodSpec, meta *metav1.ObjectMeta) []string {
	isTemplate := path != nil
	annotations := path.Child("metadata", "annotations")
	whole := corev1.PodSecurityContext{}
	if spec.SecurityContext != nil {
		whole = *spec.SecurityContext
	}
	warnings := seccompAnnotationWarnings(annotations, meta, corev1.SeccompPodAnnotationKey, whole.SeccompProfile)
	for at, c := range eachContainerAt(spec, path.Child("spec")) {
		own := corev1.SecurityContext{}
		if c.SecurityContext != nil {
			own = *c.SecurityContext
		}
		warnings = append(warnings, seccompAnnotationWarnings(annotations, meta, seccompContainerPrefix+c.Name, own.SeccompProfile)...)
		if isTemplate {
			warnings = append(warnings, appArmorAnnotationWarnings(annotations, meta, whole.AppArmorProfile, own.AppArmorProfile, c.Name)...)
		}
		for _, name := range [...]corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			warnings = append(warnings, fractionWarnings(at.Child("resources", "limits"), c.Resources.Limits, name)...)
			warnings = append(warnings, fractionWarnings(at.Child("resources", "requests"), c.Resources.Requests, name)...)
		}
		warnings = append(warnings, hiddenEnvWarnings(at.Child("env"), c.Env)...)
	}
	return warnings
}

// hiddenEnvWarnings are about variables that are set again without a look at the former value.
func hiddenEnvWarnings(path *field.Path, env []corev1.EnvVar) []string {
	var warnings []string
	seen := map[string]bool{}
	for i, v := range env {
		former := "$(" + v.Name + ")"
		builds := v.ValueFrom == nil && v.Value != former && strings.Contains(v.Value, former)
		if seen[v.Name] && !builds {
			warnings = append(warnings, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", path.Index(i), v.Name))
		}
		seen[v.Name] = true
	}
	return warnings
}

// portWarnings are about ports of all containers that get into each other's way.
func portWarnings(path *field.Path, spec *corev1.PodSpec) []string {
	type place struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	var warnings, names []string
	byNumber, byName := map[number][]place{}, map[string]*field.Path{}
	for at, c := range eachContainerAt(spec, path) {
		for i, port := range c.Ports {
			here := at.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				warnings = append(warnings, fmt.Sprintf("%s: hostIP set without hostPort: %+v", here, port))
			}
			key := number{port.ContainerPort, port.Protocol}
			for _, other := range byNumber[key] {
				if clash := portClash(port, other.port); clash != "" {
					warnings = append(warnings, fmt.Sprintf("%s: %s port definition with %s", here, clash, other.at))
				}
			}
			byNumber[key] = append(byNumber[key], place{here, port})
			if port.Name == "" {
				continue
			}
			if other, found := byName[port.Name]; found {
				names = append(names, fmt.Sprintf("%s: duplicate port name %q with %s, services and probes that select ports by name will use %s", here, port.Name, other, other))
			} else {
				byName[port.Name] = here
			}
		}
	}
	return append(warnings, names...)
}

// portClash says how two ports of the same number and protocol get into each other's way; empty if they do not.
func portClash(a, b corev1.ContainerPort) string {
	switch {
	case a.HostIP == b.HostIP && a.HostPort == b.HostPort:
		return "duplicate"
	case a.HostPort == 0 || b.HostPort == 0:
		return "overlapping" // redundant, not dangerous
	case a.HostPort == b.HostPort && (a.HostIP == "") != (b.HostIP == ""):
		return "dangerously ambiguous" // who gets the address that one of them does not name is undefined
	}
	return ""
}

func gracePeriodWarnings(path *field.Path, seconds *int64) []string {
	if seconds == nil || *seconds >= 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", path)}
}

func podAffinityWarnings(path *field.Path, affinity *corev1.Affinity) []string {
	if affinity == nil {
		return nil
	}
	var warnings []string
	tell := func(path *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i, term := range required {
			at := path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i)
			warnings = append(warnings, nullSelectorWarnings(at.Child("labelSelector"), term.LabelSelector)...)
		}
		for i, term := range preferred {
			at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			warnings = append(warnings, nullSelectorWarnings(at.Child("podAffinityTerm", "labelSelector"), term.PodAffinityTerm.LabelSelector)...)
		}
	}
	if a := affinity.PodAffinity; a != nil {
		tell(path.Child("podAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := affinity.PodAntiAffinity; a != nil {
		tell(path.Child("podAntiAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return warnings
}

// addressWarnings are about addresses in a spelling that not everybody reads alike.
func addressWarnings(path *field.Path, spec *corev1.PodSpec) []string {
	var warnings []string
	if spec.DNSConfig != nil {
		for i, server := range spec.DNSConfig.Nameservers {
			warnings = append(warnings, validation.GetWarningsForIP(path.Child("dnsConfig", "nameservers").Index(i), server)...)
		}
	}
	for i, alias := range spec.HostAliases {
		warnings = append(warnings, validation.GetWarningsForIP(path.Child("hostAliases").Index(i).Child("ip"), alias.IP)...)
	}
	return warnings
}
