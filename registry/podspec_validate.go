package registry

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podSpecCheck is a PodSpec under validation, with what its parts have to know of each other.
type podSpecCheck struct {
	spec    *corev1.PodSpec
	opts    podOptions
	volumes map[string]corev1.VolumeSource // those without errors, by name
	claims  sets.Set[string]               // the names of spec.resourceClaims
}

// validatePodSpec is about the contents of a PodSpec, of a pod or a template, after defaulting. meta is the pod's
// metadata; it is nil for a template, whose rules are laxer where the pod will get defaults or a name of its own.
func validatePodSpec(spec *corev1.PodSpec, meta *metav1.ObjectMeta, path *field.Path, opts podOptions) field.ErrorList {
	p := &podSpecCheck{spec: spec, opts: opts, claims: resourceClaimNames(spec.ResourceClaims)}
	var errs field.ErrorList
	p.volumes, errs = validateVolumes(spec.Volumes, meta, path.Child("volumes"), opts)
	return slices.Concat(errs,
		// what runs
		p.validateContainers(path.Child("containers")),
		p.validateInitContainers(path.Child("initContainers")),
		p.validateEphemeralContainers(path.Child("ephemeralContainers")),
		validateEnvFiles(spec, path),
		validatePodResources(spec, p.claims, path.Child("resources"), opts),
		validateResourceClaims(spec.ResourceClaims, meta, path.Child("resourceClaims")),
		validateOverhead(spec.Overhead, path.Child("overhead"), opts),
		// for how long
		validatePodLife(spec, path),
		validateReadinessGates(spec.ReadinessGates, path.Child("readinessGates")),
		// as whom, and how far apart from its host
		validatePodSecurityContext(spec, path.Child("securityContext"), opts),
		validateHostUsers(spec, path, opts),
		validateHostPorts(spec, meta != nil, path),
		validateHostProcess(spec, path),
		validateOS(spec, path),
		validateReferredName(spec.ServiceAccountName, apivalidation.ValidateServiceAccountName, path.Child("serviceAccountName")),
		// under what name
		validateRequiredChoice(spec.DNSPolicy, path.Child("dnsPolicy"),
			corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone),
		validateDNSConfig(spec.DNSConfig, spec.DNSPolicy, path.Child("dnsConfig")),
		validateHostAliases(spec.HostAliases, path.Child("hostAliases")),
		validateHostnames(spec, path),
		// where
		validatePlacement(spec, path, opts),
	)
}

// validatePodLife is about when a pod and its containers end and start again.
func validatePodLife(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateRequiredChoice(spec.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if spec.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	if seconds := spec.ActiveDeadlineSeconds; seconds != nil && (*seconds < 1 || *seconds > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *seconds, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	return errs
}

// validatePlacement is about the choice of a node, and the pod's rank among others.
func validatePlacement(spec *corev1.PodSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := slices.Concat(
		validateReferredName(spec.NodeName, apivalidation.NameIsDNSSubdomain, path.Child("nodeName")),
		metavalidation.ValidateLabels(spec.NodeSelector, path.Child("nodeSelector")),
		validateAffinity(spec.Affinity, path.Child("affinity"), opts),
		validateTolerations(spec.Tolerations, path.Child("tolerations"), opts),
		validateTopologySpreadConstraints(spec.TopologySpreadConstraints, path.Child("topologySpreadConstraints"), opts),
		validateSchedulingGates(spec.SchedulingGates, path.Child("schedulingGates")),
		validateSchedulingGroup(spec.SchedulingGroup, path.Child("schedulingGroup")),
		validateReferredName(spec.PriorityClassName, apivalidation.NameIsDNSSubdomain, path.Child("priorityClassName")),
	)
	if spec.RuntimeClassName != nil {
		errs = append(errs, validateDNSSubdomain(*spec.RuntimeClassName, path.Child("runtimeClassName"))...)
	}
	if spec.PreemptionPolicy != nil {
		errs = append(errs, validateRequiredChoice(*spec.PreemptionPolicy, path.Child("preemptionPolicy"),
			corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// validateReferredName is about the name of another object; an empty one refers to none.
func validateReferredName(name string, rule apivalidation.ValidateNameFunc, path *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	return invalidValue(path, name, rule(name, false))
}

// validateOverhead is about what a pod takes beside its containers: limits of nobody in particular.
func validateOverhead(overhead corev1.ResourceList, path *field.Path, opts podOptions) field.ErrorList {
	if overhead == nil {
		return nil
	}
	return validateResourceRequirements(&corev1.ResourceRequirements{Limits: overhead}, nil, path, opts)
}

func validateReadinessGates(gates []corev1.PodReadinessGate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range gates {
		errs = append(errs, validateQualifiedName(string(gate.ConditionType), path.Index(i).Child("conditionType"))...)
	}
	return errs
}

func validateSchedulingGates(gates []corev1.PodSchedulingGate, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, gate := range gates {
		errs = append(errs, validateQualifiedName(gate.Name, path.Index(i))...)
		if seen.Has(gate.Name) {
			errs = append(errs, field.Duplicate(path.Index(i), gate.Name))
		}
		seen.Insert(gate.Name)
	}
	return errs
}

// validateSchedulingGroup is about pods that are placed together: off in this release, but kept in pods that have it.
func validateSchedulingGroup(g *corev1.PodSchedulingGroup, path *field.Path) field.ErrorList {
	if g == nil {
		return nil
	}
	if g.PodGroupName == nil {
		return field.ErrorList{field.Invalid(path.Child("podGroupName"), g.PodGroupName, "must specify one of: `podGroupName`")}
	}
	return validateDNSSubdomain(*g.PodGroupName, path.Child("podGroupName"))
}

func resourceClaimNames(claims []corev1.PodResourceClaim) sets.Set[string] {
	names := sets.New[string]()
	for _, claim := range claims {
		if claim.Name != "" {
			names.Insert(claim.Name)
		}
	}
	return names
}

// validateResourceClaims is about the devices that a pod claims, each by a ResourceClaim or by a template of one. A
// pod that the node made itself cannot wait for them.
func validateResourceClaims(claims []corev1.PodResourceClaim, pod *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, claim := range claims {
		if pod != nil && isMirrorPod(pod.Annotations) {
			errs = append(errs, field.Forbidden(field.NewPath(""), "static pods do not support resource claims"))
			continue
		}
		at := path.Index(i)
		if seen.Has(claim.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), claim.Name))
		} else {
			errs = append(errs, validateRequiredLabel(claim.Name, at.Child("name"))...)
		}
		if claim.Name != "" {
			seen.Insert(claim.Name)
		}
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(at, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(at, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if claim.ResourceClaimName != nil {
			errs = append(errs, validateDNSSubdomain(*claim.ResourceClaimName, at.Child("resourceClaimName"))...)
		}
		if claim.ResourceClaimTemplateName != nil {
			errs = append(errs, validateDNSSubdomain(*claim.ResourceClaimTemplateName, at.Child("resourceClaimTemplateName"))...)
		}
	}
	return errs
}
