package registry

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// A Service has one address and family, or one of each of both families. The first is for ever; the second comes and
// goes with ipFamilyPolicy.

// isHeadless reports a Service whose name stands for its endpoints' own addresses.
func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// validateServiceIPs is about clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy, and how they agree.
func validateServiceIPs(s, old *corev1.Service) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil // validateExternalName forbids them all
	}
	spec, at := &s.Spec, field.NewPath("spec", "clusterIPs")
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(at, ""))
	case spec.ClusterIP != "" && spec.ClusterIP != spec.ClusterIPs[0]:
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	errs = append(errs, validateFamilies(spec)...)
	bad := validateClusterIPs(s, old, at)
	errs = append(errs, bad...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(bad) > 0 {
		return errs // the families of what is no address would only confuse
	}
	if len(spec.ClusterIPs) > 1 {
		dual, err := netutils.IsDualStackIPStrings(spec.ClusterIPs)
		if err != nil {
			errs = append(errs, field.InternalError(at, fmt.Errorf("failed to check for dual stack with error:%v", err)))
		}
		if !dual {
			errs = append(errs, field.Invalid(at, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	if isHeadless(s) {
		return errs
	}
	for i := range min(len(spec.ClusterIPs), len(spec.IPFamilies)) {
		six := netutils.IsIPv6String(spec.ClusterIPs[i])
		if f := spec.IPFamilies[i]; f == corev1.IPv4Protocol && six || f == corev1.IPv6Protocol && !six {
			errs = append(errs, field.Invalid(at.Index(i), spec.ClusterIPs[i], fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", f, i)))
		}
	}
	return errs
}

func validateFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	families := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	for i, f := range spec.IPFamilies {
		if !slices.Contains(families, f) {
			errs = append(errs, field.NotSupported(at.Child("ipFamilies").Index(i), f, families))
		}
		if slices.Contains(spec.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(at.Child("ipFamilies").Index(i), f))
		}
	}
	policies := []corev1.IPFamilyPolicy{corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack}
	if p := spec.IPFamilyPolicy; p != nil && !slices.Contains(policies, *p) {
		errs = append(errs, field.NotSupported(at.Child("ipFamilyPolicy"), p, policies))
	}
	return errs
}

// validateClusterIPs wants addresses, or None alone; those of the stored Service are not judged again.
func validateClusterIPs(s, old *corev1.Service, at *field.Path) field.ErrorList {
	var known []string
	if old != nil {
		known = old.Spec.ClusterIPs
	}
	var errs field.ErrorList
	for i, ip := range s.Spec.ClusterIPs {
		switch {
		case i > 0 || ip != corev1.ClusterIPNone:
			errs = append(errs, validation.IsValidIPForLegacyField(at.Index(i), ip, true, known)...)
		case len(s.Spec.ClusterIPs) > 1:
			errs = append(errs, field.Invalid(at, s.Spec.ClusterIPs, "'None' must be the first and only value"))
		}
	}
	return errs
}

// validateIPsChange keeps the addresses that a Service has, save the second one.
func validateIPsChange(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) || !needsClusterIP(old) || isHeadless(s) && isHeadless(old) {
		return nil
	}
	is, was, at := s.Spec.ClusterIPs, old.Spec.ClusterIPs, field.NewPath("spec", "clusterIPs")
	var errs field.ErrorList
	if len(is) == 0 && len(was) > 0 {
		return append(errs, field.Invalid(at.Index(0), is, "primary clusterIP can not be unset"))
	}
	for i := range was {
		if i < len(is) && is[i] != was[i] && (i == 0 || len(is) == len(was)) {
			errs = append(errs, field.Invalid(at.Index(i), is, "may not change once set"))
		}
	}
	if len(is) == 1 && len(was) > 1 && familyPolicy(s) != corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), s.Spec.IPFamilyPolicy,
			"must be set to 'SingleStack' when releasing the secondary clusterIP"))
	}
	return errs
}

// validateFamiliesChange keeps the families that a Service has, save the second one; a headless one may change them.
func validateFamiliesChange(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) || !needsClusterIP(old) || isHeadless(s) || isHeadless(old) {
		return nil
	}
	is, was, at := s.Spec.IPFamilies, old.Spec.IPFamilies, field.NewPath("spec", "ipFamilies").Index(0)
	const fixed = "may not change once set"
	var errs field.ErrorList
	if len(is) == len(was) {
		for i := range was {
			if is[i] != was[i] {
				errs = append(errs, field.Invalid(at, is, fixed))
			}
		}
		return errs
	}
	if len(is) < len(was) && len(s.Spec.ClusterIPs) == 0 {
		errs = append(errs, field.Invalid(at, is, "primary ipFamily can not be unset"))
	}
	if len(is) > 0 && len(was) > 0 && is[0] != was[0] {
		errs = append(errs, field.Invalid(at, s.Spec.ClusterIPs, fixed))
	}
	if len(is) == 1 && len(was) > 1 && familyPolicy(s) != corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), s.Spec.IPFamilyPolicy,
			"must be set to 'SingleStack' when releasing the secondary ipFamily"))
	}
	return errs
}
