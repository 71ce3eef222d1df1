package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// taintsAnnotation is where taints stood before they were a field.
const taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"

// validateNode holds an update to the rules of a new node and to those of a change; some findings come twice.
func validateNode(_ *Write, n, old *corev1.Node) field.ErrorList {
	if old == nil {
		return validateNewNode(n)
	}
	return append(validateNewNode(n), validateNodeChange(n, old)...)
}

func validateNewNode(n *corev1.Node) field.ErrorList {
	errs := validateNodeContents(n)
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil {
		errs = append(errs, validatePositive(*s.Capacity, field.NewPath("metadata", "nodeSwapStatus", "capacity"))...)
	}
	return append(errs, validatePodCIDRs(n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))...)
}

// validateNodeChange applies the rules of an update, of the node or of its status.
func validateNodeChange(n, old *corev1.Node) field.ErrorList {
	errs := validateNodeContents(n)
	addresses := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if addresses[a] {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(i), a))
		}
		addresses[a] = true
	}
	errs = append(errs, validateNodeImmutables(&n.Spec, &old.Spec)...)
	if s := n.Spec.ConfigSource; s != nil {
		errs = append(errs, validateNodeConfigSource(s, field.NewPath("spec", "configSource"), false)...)
	}
	if c := n.Status.Config; c != nil {
		at := field.NewPath("status", "config")
		for _, part := range []struct {
			name   string
			source *corev1.NodeConfigSource
		}{{"assigned", c.Assigned}, {"active", c.Active}, {"lastKnownGood", c.LastKnownGood}} {
			if part.source != nil {
				errs = append(errs, validateNodeConfigSource(part.source, at.Child(part.name), true)...)
			}
		}
	}
	return errs
}

// validateNodeContents holds for new and changed nodes alike.
func validateNodeContents(n *corev1.Node) field.ErrorList {
	errs := validateNodeAnnotations(n.Annotations, field.NewPath("metadata", "annotations"))
	errs = append(errs, validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	for _, list := range []struct {
		name string
		list corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		for _, name := range sortedKeys(list.list) {
			errs = append(errs, validateResourceQuantity(name, list.list[name], field.NewPath("status", list.name, string(name)))...)
		}
	}
	return append(errs, validateDeclaredFeatures(n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))...)
}

// validateNodeImmutables lets what controllers assign be set once.
func validateNodeImmutables(spec, old *corev1.NodeSpec) field.ErrorList {
	var errs field.ErrorList
	const podCIDR = "node updates may not change podCIDR except from \"\" to valid"
	at := field.NewPath("spec")
	if len(old.PodCIDRs) > 0 && len(old.PodCIDRs) != len(spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(at.Child("podCIDRs"), podCIDR))
	} else {
		for i := range old.PodCIDRs {
			if old.PodCIDRs[i] != spec.PodCIDRs[i] {
				errs = append(errs, field.Forbidden(at.Child("podCIDRs"), podCIDR))
			}
		}
	}
	if old.ProviderID != "" && old.ProviderID != spec.ProviderID {
		errs = append(errs, field.Forbidden(at.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	if old.DoNotUseExternalID != spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(at.Child("externalID"), "may not be updated"))
	}
	return errs
}

// validatePodCIDRs wants at most one CIDR a family.
func validatePodCIDRs(cidrs []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), cidr, true, nil)...)
	}
	if len(cidrs) < 2 {
		return errs
	}
	dual, err := netutils.IsDualStackCIDRStrings(cidrs)
	if err != nil {
		errs = append(errs, field.InternalError(at, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
	}
	if !dual || len(cidrs) > 2 {
		errs = append(errs, field.Invalid(at, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeAnnotations(annotations map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if text := annotations[taintsAnnotation]; text != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(text), &taints); err != nil {
			errs = append(errs, field.Invalid(at, taintsAnnotation, err.Error()))
		} else {
			errs = append(errs, validateTaints(taints, at.Child(taintsAnnotation))...)
		}
	}
	if text := annotations[corev1.PreferAvoidPodsAnnotationKey]; text != "" {
		var avoid corev1.AvoidPods
		if err := json.Unmarshal([]byte(text), &avoid); err != nil {
			return append(errs, field.Invalid(at.Child("AvoidPods"), corev1.PreferAvoidPodsAnnotationKey, err.Error()))
		}
		for i, entry := range avoid.PreferAvoidPods {
			errs = append(errs, validateAvoidPods(entry.PodSignature.PodController, at.Child(corev1.PreferAvoidPodsAnnotationKey).Index(i).Child("PodSignature"))...)
		}
	}
	return errs
}

func validateAvoidPods(controller *metav1.OwnerReference, at *field.Path) field.ErrorList {
	switch {
	case controller == nil:
		return field.ErrorList{field.Required(at, "")}
	case controller.Controller == nil || !*controller.Controller:
		return field.ErrorList{field.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller")}
	}
	return nil
}

// validateDeclaredFeatures wants feature names, sorted and each once.
func validateDeclaredFeatures(names []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		if why := featureNameProblem(name); why != "" {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("invalid feature name %q: %s", name, why)))
		}
		switch {
		case i == 0 || names[i-1] < name:
		case names[i-1] == name:
			errs = append(errs, field.Duplicate(at.Index(i), name))
		default:
			errs = append(errs, field.Invalid(at.Index(i), name, "list must be sorted alphabetically"))
		}
	}
	return errs
}

// featureNameProblem says what is wrong with a name of the form MyFeature/mySubFeature; empty if nothing is.
func featureNameProblem(name string) string {
	if len(name) > validation.DNS1123SubdomainMaxLength {
		return fmt.Sprintf("must be no more than %d characters", validation.DNS1123SubdomainMaxLength)
	}
	const form = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
	upper := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	letter := func(c byte) bool { return upper(c) || 'a' <= c && c <= 'z' }
	for i, segment := range strings.Split(name, "/") {
		if segment == "" || i == 0 && !upper(segment[0]) || !letter(segment[0]) {
			return form
		}
		for _, c := range []byte(segment) {
			if !letter(c) && (c < '0' || c > '9') {
				return form
			}
		}
	}
	return ""
}

// validateNodeConfigSource is about the ConfigMap that a kubelet once read its configuration from; in status it is
// named exactly, in spec it is not.
func validateNodeConfigSource(s *corev1.NodeConfigSource, at *field.Path, status bool) field.ErrorList {
	if s.ConfigMap == nil {
		return field.ErrorList{field.Invalid(at, s, "exactly one reference subfield must be non-nil")}
	}
	var errs field.ErrorList
	at = at.Child("configMap")
	for _, part := range []struct{ name, value string }{{"uid", string(s.ConfigMap.UID)}, {"resourceVersion", s.ConfigMap.ResourceVersion}} {
		switch {
		case status && part.value == "":
			errs = append(errs, field.Required(at.Child(part.name), ""))
		case !status && part.value != "":
			errs = append(errs, field.Forbidden(at.Child(part.name), part.name+" must not be set in spec"))
		}
	}
	for _, part := range []struct {
		name, value string
		rule        func(string) []string
	}{
		{"namespace", s.ConfigMap.Namespace, func(v string) []string { return apivalidation.ValidateNamespaceName(v, false) }},
		{"name", s.ConfigMap.Name, func(v string) []string { return apivalidation.NameIsDNSSubdomain(v, false) }},
		{"kubeletConfigKey", s.ConfigMap.KubeletConfigKey, validation.IsConfigMapKey},
	} {
		if part.value == "" {
			errs = append(errs, field.Required(at.Child(part.name), ""))
		} else {
			errs = append(errs, invalidValue(at.Child(part.name), part.value, part.rule(part.value))...)
		}
	}
	return errs
}
