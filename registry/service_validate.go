package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateService judges the Service as Begin has completed it; the rules of addresses and families stand in
// service_validate_ips.go.
func validateService(_ *Write, s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if old != nil {
		errs = append(errs, validateServiceChange(s, old)...)
	}
	errs = append(errs, validateTopologyAnnotations(s.Annotations)...)
	errs = append(errs, validateServiceType(s)...)
	errs = append(errs, validateServicePorts(s)...)
	spec, at := &s.Spec, field.NewPath("spec")
	errs = append(errs, metavalidation.ValidateLabels(spec.Selector, at.Child("selector"))...)
	errs = append(errs, validateSessionAffinity(spec, at)...)
	errs = append(errs, validateServiceIPs(s, old)...)
	errs = append(errs, validateExternalIPs(s, old)...)
	errs = append(errs, validateSourceRanges(s, old)...)
	errs = append(errs, validateBalancerFields(s)...)
	return append(errs, validateTrafficPolicies(s)...)
}

// validateServiceChange is about what cannot change.
func validateServiceChange(s, old *corev1.Service) field.ErrorList {
	errs := append(validateIPsChange(s, old), validateFamiliesChange(s, old)...)
	spec := field.NewPath("spec")
	if isBalanced(s) && isBalanced(old) && !equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set"))
	}
	errs = append(errs, validateBalancerClass(s)...)
	if needsHealthCheck(s) && needsHealthCheck(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(spec.Child("healthCheckNodePort"), "field is immutable"))
	}
	return errs
}

func validateTopologyAnnotations(annotations map[string]string) field.ErrorList {
	const hints, mode = corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode
	oldWay, hasOld := annotations[hints]
	newWay, hasNew := annotations[mode]
	if hasOld && hasNew && oldWay != newWay {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations").Key(mode), newWay,
			fmt.Sprintf("must match annotations[%s] when both are specified", hints))}
	}
	return nil
}

// validateServiceType is about the type, and what each demands and forbids.
func validateServiceType(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec, at := &s.Spec, field.NewPath("spec")
	if len(spec.Ports) == 0 && !isHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(at.Child("ports"), ""))
	}
	known := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort}
	switch {
	case spec.Type == "":
		errs = append(errs, field.Required(at.Child("type"), ""))
	case !slices.Contains(known, spec.Type):
		errs = append(errs, field.NotSupported(at.Child("type"), spec.Type, known))
	case hasNodePorts(s) && isHeadless(s):
		errs = append(errs, field.Invalid(at.Child("clusterIPs").Index(0), spec.ClusterIPs[0],
			fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
	case spec.Type == corev1.ServiceTypeExternalName:
		errs = append(errs, validateExternalName(spec, at)...)
	}
	return errs
}

// validateExternalName wants a DNS name, which may end in a dot, and nothing of an address.
func validateExternalName(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	const why = "may not be set for ExternalName services"
	if len(spec.ClusterIPs) > 0 {
		errs = append(errs, field.Forbidden(at.Child("clusterIPs"), why))
	}
	if len(spec.IPFamilies) > 0 {
		errs = append(errs, field.Forbidden(at.Child("ipFamilies"), why))
	}
	if spec.IPFamilyPolicy != nil {
		errs = append(errs, field.Forbidden(at.Child("ipFamilyPolicy"), why))
	}
	name := strings.TrimSuffix(spec.ExternalName, ".")
	if name == "" {
		return append(errs, field.Required(at.Child("externalName"), ""))
	}
	return append(errs, invalidValue(at.Child("externalName"), name, validation.IsDNS1123Subdomain(name))...)
}

// validateServicePorts is about each port, and about those that occur twice.
func validateServicePorts(s *corev1.Service) field.ErrorList {
	type endpoint struct {
		protocol corev1.Protocol
		port     int32
	}
	var errs field.ErrorList
	names, ports, nodePorts := map[string]bool{}, map[endpoint]bool{}, map[endpoint]bool{}
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], field.NewPath("spec", "ports").Index(i)
		errs = append(errs, validateServicePort(p, len(s.Spec.Ports) > 1, at)...)
		if p.Name != "" && names[p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		names[p.Name] = true
		if key := (endpoint{p.Protocol, p.Port}); ports[key] {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			ports[key] = true
		}
		if p.NodePort == 0 {
			continue
		}
		if s.Spec.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if key := (endpoint{p.Protocol, p.NodePort}); nodePorts[key] {
			errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
		} else {
			nodePorts[key] = true
		}
	}
	return errs
}

// validateNamedPort is what the ports of Services and Endpoints have in common.
func validateNamedPort(name string, port int32, protocol corev1.Protocol, nameRequired bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name != "" {
		errs = append(errs, invalidValue(at.Child("name"), name, validation.IsDNS1123Label(name))...)
	} else if nameRequired {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	errs = append(errs, invalidValue(at.Child("port"), port, validation.IsValidPortNum(int(port)))...)
	return append(errs, validatePortProtocol(protocol, at.Child("protocol"))...)
}

func validateServicePort(p *corev1.ServicePort, nameRequired bool, at *field.Path) field.ErrorList {
	errs := validateNamedPort(p.Name, p.Port, p.Protocol, nameRequired, at)
	target := at.Child("targetPort")
	if p.TargetPort.Type == intstr.String {
		errs = append(errs, invalidValue(target, p.TargetPort.StrVal, validation.IsValidPortName(p.TargetPort.StrVal))...)
	} else {
		errs = append(errs, invalidValue(target, p.TargetPort.IntValue(), validation.IsValidPortNum(p.TargetPort.IntValue()))...)
	}
	return append(errs, validateAppProtocol(p.AppProtocol, at.Child("appProtocol"))...)
}

func validateSessionAffinity(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	known := []corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone}
	config := at.Child("sessionAffinityConfig")
	switch a := spec.SessionAffinity; {
	case a == "":
		return field.ErrorList{field.Required(at.Child("sessionAffinity"), "")}
	case !slices.Contains(known, a):
		return field.ErrorList{field.NotSupported(at.Child("sessionAffinity"), a, known)}
	case a == corev1.ServiceAffinityClientIP:
		return validateClientIPAffinity(spec.SessionAffinityConfig, config)
	case spec.SessionAffinityConfig != nil:
		return field.ErrorList{field.Forbidden(config, fmt.Sprintf("must not be set when session affinity is %s", a))}
	}
	return nil
}

func validateClientIPAffinity(c *corev1.SessionAffinityConfig, at *field.Path) field.ErrorList {
	const day = 24 * 60 * 60
	why := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
	switch timeout := at.Child("clientIP", "timeoutSeconds"); {
	case c == nil:
		return field.ErrorList{field.Required(at, why)}
	case c.ClientIP == nil:
		return field.ErrorList{field.Required(at.Child("clientIP"), why)}
	case c.ClientIP.TimeoutSeconds == nil:
		return field.ErrorList{field.Required(timeout, why)}
	case *c.ClientIP.TimeoutSeconds <= 0 || *c.ClientIP.TimeoutSeconds > day:
		return field.ErrorList{field.Invalid(timeout, c.ClientIP.TimeoutSeconds, fmt.Sprintf("must be greater than 0 and less than %d", day))}
	}
	return nil
}

// validateExternalIPs does not judge again what the stored Service has.
func validateExternalIPs(s, old *corev1.Service) field.ErrorList {
	var known []string
	if old != nil {
		known = old.Spec.ExternalIPs
	}
	var errs field.ErrorList
	for i, ip := range s.Spec.ExternalIPs {
		at := field.NewPath("spec", "externalIPs").Index(i)
		if bad := validation.IsValidIPForLegacyField(at, ip, true, known); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		errs = append(errs, validateEndpointIP(ip, at)...)
	}
	return errs
}

// validateSourceRanges is about the field, or the annotation that it replaced. Either may pad its values with spaces,
// and what is stored is not judged again.
func validateSourceRanges(s, old *corev1.Service) field.ErrorList {
	const why = "may only be used when `type` is 'LoadBalancer'"
	var errs field.ErrorList
	if ranges := s.Spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		at := field.NewPath("spec", "LoadBalancerSourceRanges")
		if !isBalanced(s) {
			errs = append(errs, field.Forbidden(at, why))
		}
		var known []string
		if old != nil {
			for _, cidr := range old.Spec.LoadBalancerSourceRanges {
				known = append(known, strings.TrimSpace(cidr))
			}
		}
		for i, cidr := range ranges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), strings.TrimSpace(cidr), true, known)...)
		}
		return errs
	}
	text, set := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !set {
		return nil
	}
	at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	if !isBalanced(s) {
		errs = append(errs, field.Forbidden(at, why))
	}
	if old != nil && old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == text || strings.TrimSpace(text) == "" {
		return errs
	}
	for _, cidr := range strings.Split(text, ",") {
		errs = append(errs, validation.IsValidCIDRForLegacyField(at, strings.TrimSpace(cidr), true, nil)...)
	}
	return errs
}

func validateBalancerFields(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	switch allocate := s.Spec.AllocateLoadBalancerNodePorts; {
	case allocate != nil && !isBalanced(s):
		errs = append(errs, field.Forbidden(field.NewPath("spec", "allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	case allocate == nil && isBalanced(s):
		errs = append(errs, field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	}
	return append(errs, validateBalancerClass(s)...)
}

func validateBalancerClass(s *corev1.Service) field.ErrorList {
	class, at := s.Spec.LoadBalancerClass, field.NewPath("spec", "loadBalancerClass")
	switch {
	case class == nil:
		return nil
	case !isBalanced(s):
		return field.ErrorList{field.Forbidden(at, "may only be used when `type` is 'LoadBalancer'")}
	}
	return invalidValue(at, *class, validation.IsQualifiedName(*class))
}

func validateTrafficPolicies(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec, at := &s.Spec, field.NewPath("spec")
	external := []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal}
	switch p := spec.ExternalTrafficPolicy; {
	case !reachableFromOutside(s):
		if p != "" {
			errs = append(errs, field.Invalid(at.Child("externalTrafficPolicy"), p, "may only be set for externally-accessible services"))
		}
	case p == "":
		errs = append(errs, field.Required(at.Child("externalTrafficPolicy"), ""))
	case !slices.Contains(external, p):
		errs = append(errs, field.NotSupported(at.Child("externalTrafficPolicy"), p, external))
	}
	errs = append(errs, validateHealthCheckPort(s)...)
	internal := []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}
	switch p := spec.InternalTrafficPolicy; {
	case p == nil:
		if hasNodePorts(s) || spec.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Required(at.Child("internalTrafficPolicy"), ""))
		}
	case !slices.Contains(internal, *p):
		errs = append(errs, field.NotSupported(at.Child("internalTrafficPolicy"), *p, internal))
	}
	distributions := []string{corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode}
	if d := spec.TrafficDistribution; d != nil && !slices.Contains(distributions, *d) {
		errs = append(errs, field.NotSupported(at.Child("trafficDistribution"), *d, distributions))
	}
	return errs
}

func validateHealthCheckPort(s *corev1.Service) field.ErrorList {
	port, at := s.Spec.HealthCheckNodePort, field.NewPath("spec", "healthCheckNodePort")
	switch needed := needsHealthCheck(s); {
	case !needed && port != 0:
		return field.ErrorList{field.Invalid(at, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")}
	case needed && port == 0:
		return field.ErrorList{field.Required(at, "")}
	case needed:
		return invalidValue(at, port, validation.IsValidPortNum(int(port)))
	}
	return nil
}

// validateServiceStatus is about the load balancer's points of entry.
func validateServiceStatus(_ *Write, s, old *corev1.Service) field.ErrorList {
	at := field.NewPath("status", "loadBalancer", "ingress")
	points := s.Status.LoadBalancer.Ingress
	if !isBalanced(s) && len(points) > 0 {
		return field.ErrorList{field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var known []string
	for _, p := range old.Status.LoadBalancer.Ingress {
		if p.IP != "" {
			known = append(known, p.IP)
		}
	}
	var errs field.ErrorList
	for i, p := range points {
		if p.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Index(i).Child("ip"), p.IP, true, known)...)
		}
		errs = append(errs, validateIPMode(p, at.Index(i).Child("ipMode"))...)
		errs = append(errs, validateBalancerHostname(p.Hostname, at.Index(i).Child("hostname"))...)
	}
	return errs
}

func validateIPMode(p corev1.LoadBalancerIngress, at *field.Path) field.ErrorList {
	known := []corev1.LoadBalancerIPMode{corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP}
	switch {
	case p.IPMode == nil && p.IP != "":
		return field.ErrorList{field.Required(at, "must be specified when `ip` is set")}
	case p.IPMode != nil && p.IP == "":
		return field.ErrorList{field.Forbidden(at, "may not be specified when `ip` is not set")}
	case p.IPMode != nil && !slices.Contains(known, *p.IPMode):
		return field.ErrorList{field.NotSupported(at, p.IPMode, known)}
	}
	return nil
}
