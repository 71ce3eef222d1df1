package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// service is a name, an address and ports for a set of pods. Addresses and ports are allocated as it is written
// (service_alloc.go), and released when it is gone.
func service() *Resource {
	return Kind[*corev1.Service]{
		Resource: Resource{
			Plural: "services", Singular: "service", Kind: "Service", ShortNames: []string{"svc"}, Categories: []string{"all"},
			Namespaced: true, Prefix: "services/specs", Versions: []Version{{Name: "v1"}},

			CreateOnUpdate:      true,
			DeleteReturnsObject: true,
			ValidateName:        apivalidation.NameIsDNSLabel,
			Reset:               []string{"status"},
			Columns:             serviceColumns(),
			Subresources:        []Subresource{serviceProxy()},
		},
		Default:      defaultService,
		Repair:       repairService,
		Begin:        beginService,
		Prepare:      prepareService,
		Validate:     validateService,
		Canonicalize: hideInternalPolicy,
		Warn:         serviceWarnings,
		Deleted:      serviceDeleted,
		Cells:        serviceCells,
		Fields: []Field[*corev1.Service]{
			{Path: "spec.clusterIP", Value: func(s *corev1.Service) string { return s.Spec.ClusterIP }},
			{Path: "spec.type", Value: func(s *corev1.Service) string { return string(s.Spec.Type) }},
		},
		Status: &Door[*corev1.Service]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, s, old *corev1.Service) { s.Spec = old.Spec },
			Validate: validateServiceStatus,
			Warn: func(_ *Write, s, _ *corev1.Service) []string {
				var warnings []string
				for i, in := range s.Status.LoadBalancer.Ingress {
					if in.IP != "" {
						warnings = append(warnings, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), in.IP)...)
					}
				}
				return warnings
			},
		},
	}.row()
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	fill(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	fill(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		fill(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if reachableFromOutside(s) {
		fill(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP:
		fillPointer(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		fillPointer(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				fillPointer(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// repairService completes what was stored before addresses came in pairs.
func repairService(r *Registry, s *corev1.Service) {
	hideInternalPolicy(s)
	spec := &s.Spec
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if !needsClusterIP(s) || len(spec.IPFamilies) > 0 {
		return
	}
	policy, primary := corev1.IPFamilyPolicySingleStack, r.Network.defaultFamily()
	switch {
	case isBare(s):
		policy, spec.IPFamilies = corev1.IPFamilyPolicyRequireDualStack, []corev1.IPFamily{primary, otherFamily(primary)}
	case spec.ClusterIP == corev1.ClusterIPNone:
		spec.IPFamilies = []corev1.IPFamily{primary}
	case len(spec.ClusterIPs) == 0:
		return
	default:
		for _, ip := range spec.ClusterIPs {
			spec.IPFamilies = append(spec.IPFamilies, familyOf(ip))
		}
		if len(spec.IPFamilies) > 1 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
	}
	spec.IPFamilyPolicy = &policy
}

// hideInternalPolicy drops a policy that means nothing for a name without addresses.
func hideInternalPolicy(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		s.Spec.InternalTrafficPolicy = nil
	}
}

// prepareService takes away, on a change of type, what the new type has no use for and the user did not touch.
func prepareService(_ *Write, s, old *corev1.Service) {
	if old == nil {
		s.Status = corev1.ServiceStatus{}
		return
	}
	s.Status = old.Status
	spec, was := &s.Spec, &old.Spec
	if needsClusterIP(old) && !needsClusterIP(s) {
		if spec.ClusterIP == was.ClusterIP && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
			spec.ClusterIP, spec.ClusterIPs = "", nil
		}
		if slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = nil
		}
		if familyPolicy(s) == familyPolicy(old) {
			spec.IPFamilyPolicy = nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(s) && keepsNodePorts(s, old) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(s) && spec.HealthCheckNodePort == was.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if isBalanced(old) && !isBalanced(s) {
		if a, b := spec.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts; a != nil && b != nil && *a == *b {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if equal(spec.LoadBalancerClass, was.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
	if reachableFromOutside(old) && !reachableFromOutside(s) && spec.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	if !isBalanced(s) {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// keepsNodePorts reports that s asks for no node port that old does not have.
func keepsNodePorts(s, old *corev1.Service) bool {
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !slices.ContainsFunc(old.Spec.Ports, func(o corev1.ServicePort) bool { return o.NodePort == p.NodePort }) {
			return false
		}
	}
	return true
}

func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func isBalanced(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer }

// hasNodePorts reports that the type is one that opens ports on nodes.
func hasNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || isBalanced(s)
}

// needsHealthCheck reports that load balancers ask each node whether it has endpoints of its own.
func needsHealthCheck(s *corev1.Service) bool {
	return isBalanced(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func reachableFromOutside(s *corev1.Service) bool {
	return hasNodePorts(s) || s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

// isBare reports a headless Service without selector, whose endpoints may be of any family.
func isBare(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0
}

// familyPolicy is empty where none is set.
func familyPolicy(s *corev1.Service) corev1.IPFamilyPolicy {
	if s.Spec.IPFamilyPolicy == nil {
		return ""
	}
	return *s.Spec.IPFamilyPolicy
}

func serviceColumns() []metav1.TableColumnDefinition {
	spec := corev1.ServiceSpec{}
	return []metav1.TableColumnDefinition{
		nameColumn(),
		{Name: "Type", Type: "string", Description: doc(spec, "type")},
		{Name: "Cluster-IP", Type: "string", Description: doc(spec, "clusterIP")},
		{Name: "External-IP", Type: "string", Description: doc(spec, "externalIPs")},
		{Name: "Port(s)", Type: "string", Description: doc(spec, "ports")},
		ageColumn(),
		wideColumn("Selector", doc(spec, "selector")),
	}
}

func serviceCells(s *corev1.Service) []any {
	const none = "<none>"
	ip := none
	if len(s.Spec.ClusterIPs) > 0 {
		ip = s.Spec.ClusterIPs[0]
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			text = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
		ports = append(ports, text)
	}
	return []any{s.Name, string(s.Spec.Type), ip, serviceExternalIP(s), cmp.Or(strings.Join(ports, ","), none),
		Age{At: s.CreationTimestamp}, labels.FormatLabels(s.Spec.Selector)}
}

func serviceExternalIP(s *corev1.Service) string {
	external := strings.Join(s.Spec.ExternalIPs, ",")
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return cmp.Or(external, "<none>")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var points []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			points = append(points, cmp.Or(in.IP, in.Hostname))
		}
		balancer := joinedSet(points)
		if balancer != "" && external != "" {
			return balancer + "," + external
		}
		return cmp.Or(balancer, external, "<pending>")
	}
	return "<unknown>"
}

func serviceWarnings(_ *Write, s, _ *corev1.Service) []string {
	var warnings []string
	spec, at := &s.Spec, field.NewPath("spec")
	warn := func(when bool, format string, args ...any) {
		if when {
			warnings = append(warnings, fmt.Sprintf(format, args...))
		}
	}
	named := spec.Type == corev1.ServiceTypeExternalName
	headless := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone

	_, hints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	warn(hints, "annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode)
	if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range spec.ClusterIPs {
			warnings = append(warnings, validation.GetWarningsForIP(at.Child("clusterIPs").Index(i), ip)...)
		}
	}
	warn(headless && spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	warn(headless && len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
	warn(headless && spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	for i, ip := range spec.ExternalIPs {
		warnings = append(warnings, validation.GetWarningsForIP(at.Child("externalIPs").Index(i), ip)...)
	}
	warn(len(spec.ExternalIPs) > 0 && !headless && !named, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	if spec.LoadBalancerIP != "" {
		warnings = append(warnings, validation.GetWarningsForIP(at.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	warn(named && len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName)
	warn(!named && spec.ExternalName != "", "spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName)
	warn(spec.TrafficDistribution != nil && *spec.TrafficDistribution == corev1.ServiceTrafficDistributionPreferClose,
		"spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	return warnings
}
