package registry

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// familyOf is the family of an address; "unknown" if it is none.
func familyOf(ip string) corev1.IPFamily {
	switch {
	case netutils.IsIPv4String(ip):
		return corev1.IPv4Protocol
	case netutils.IsIPv6String(ip):
		return corev1.IPv6Protocol
	}
	return "unknown"
}

// settleFamilies decides ipFamilyPolicy and ipFamilies from what the user said and what the cluster has, so that the
// addresses to allocate follow from ipFamilies. old is nil on create. (KEP 563)
func (n Network) settleFamilies(s, old *corev1.Service) error {
	// A Service that prefers two stacks keeps what it has when the cluster gains or loses one, until somebody touches
	// the fields in question.
	if !needsClusterIP(s) || keepsPreferredFamilies(s, old) {
		return nil
	}
	settleFamilyPolicy(s, old)
	errs := validateServiceIPs(s, old)
	if len(errs) == 0 {
		errs = append(errs, releaseSecondFamily(s, old)...)
		errs = append(errs, n.inferFamilies(&s.Spec)...)
	}
	if len(errs) == 0 && !isBare(s) {
		errs = n.refuseFamilies(&s.Spec)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
	}
	spec := &s.Spec
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{n.defaultFamily()}
	}
	// A bare Service may have endpoints of both families whatever the cluster's.
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && (n.dualStack() || isBare(s)) {
		spec.IPFamilies = append(spec.IPFamilies, otherFamily(spec.IPFamilies[0]))
	}
	return nil
}

// keepsPreferredFamilies reports an update that leaves type, policy PreferDualStack, addresses and families alone.
func keepsPreferredFamilies(s, old *corev1.Service) bool {
	if old == nil || s.Spec.Type != old.Spec.Type {
		return false
	}
	if familyPolicy(s) != corev1.IPFamilyPolicyPreferDualStack || old.Spec.IPFamilyPolicy != nil && familyPolicy(old) != familyPolicy(s) {
		return false
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
	}
	return false
}

// settleFamilyPolicy adopts the policy of before, so that nothing moves between one and two stacks unasked.
func settleFamilyPolicy(s, old *corev1.Service) {
	if s.Spec.IPFamilyPolicy != nil {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		policy = *old.Spec.IPFamilyPolicy
	case isBare(s):
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	s.Spec.IPFamilyPolicy = &policy
}

// releaseSecondFamily takes SingleStack as the wish to give up the second address, and refuses fewer addresses or
// families without that word, and two of them with it.
func releaseSecondFamily(s, old *corev1.Service) field.ErrorList {
	spec, at := &s.Spec, field.NewPath("spec", "ipFamilyPolicy")
	single := *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
	var errs field.ErrorList
	refuse := func(when bool, why string) {
		if when {
			errs = append(errs, field.Invalid(at, spec.IPFamilyPolicy, why))
		}
	}
	if old != nil && single {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, old.Spec.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1:1]
		}
	}
	fewer := func(is, was int) bool { return is > 0 && is < was }
	if old != nil && !single {
		refuse(fewer(len(spec.ClusterIPs), len(old.Spec.ClusterIPs)), "must be 'SingleStack' to release the secondary cluster IP")
		refuse(fewer(len(spec.IPFamilies), len(old.Spec.IPFamilies)), "must be 'SingleStack' to release the secondary IP family")
	}
	refuse(single && len(spec.ClusterIPs) == 2, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
	refuse(single && len(spec.IPFamilies) == 2, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
	return errs
}

// inferFamilies adds the families of addresses that were asked for without.
func (n Network) inferFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			break
		}
		if i < len(spec.IPFamilies) {
			continue
		}
		if f := familyOf(ip); n.serves(f) {
			spec.IPFamilies = append(slices.Clip(spec.IPFamilies), f)
		} else {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", f)))
		}
	}
	return errs
}

// refuseFamilies names what the cluster does not have.
func (n Network) refuseFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && !n.dualStack() {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if !n.serves(f) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	return errs
}
