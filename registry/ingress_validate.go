package registry

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// ingressTolerance is what an update may keep because the stored object has it.
type ingressTolerance struct {
	secretNames   bool // TLS secret names that no Secret can have
	wildcardRules bool // anything in rules of wildcard hosts
}

func validateIngress(_ *Write, ing, old *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	var allow ingressTolerance
	if old != nil {
		allow = ingressTolerated(&old.Spec)
	}
	errs = append(errs, validateIngressSpec(&ing.Spec, allow)...)
	class, set := ing.Annotations[ingressClassAnnotation]
	if old == nil && set && ing.Spec.IngressClassName != nil && class != *ing.Spec.IngressClassName {
		errs = append(errs, field.Invalid(field.NewPath("annotations").Child(ingressClassAnnotation), class,
			"must match `ingressClassName` when both are specified"))
	}
	return errs
}

func ingressTolerated(old *networkingv1.IngressSpec) ingressTolerance {
	var allow ingressTolerance
	for _, tls := range old.TLS {
		allow.secretNames = allow.secretNames || len(validateIngressSecret(tls.SecretName, nil)) > 0
	}
	for _, rule := range old.Rules {
		allow.wildcardRules = allow.wildcardRules || strings.Contains(rule.Host, "*") && len(validateIngressPaths(rule.HTTP, nil)) > 0
	}
	return allow
}

func validateIngressSpec(spec *networkingv1.IngressSpec, allow ingressTolerance) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(at, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, validateIngressBackend(spec.DefaultBackend, at.Child("defaultBackend"))...)
	}
	for i, rule := range spec.Rules {
		errs = append(errs, validateIngressRule(rule, at.Child("rules").Index(i), allow)...)
	}
	for i, tls := range spec.TLS {
		for j, host := range tls.Hosts {
			errs = append(errs, validateIngressHost(host, at.Child("tls").Index(i).Child("hosts").Index(j))...)
		}
		if !allow.secretNames {
			errs = append(errs, validateIngressSecret(tls.SecretName, at.Child("tls").Index(i).Child("secretName"))...)
		}
	}
	if name := spec.IngressClassName; name != nil {
		errs = append(errs, invalidValue(at.Child("ingressClassName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))...)
	}
	return errs
}

func validateIngressSecret(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	return invalidValue(at, name, apivalidation.NameIsDNSSubdomain(name, false))
}

// validateIngressHost wants a DNS name, which may begin with a wildcard.
func validateIngressHost(host string, at *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return invalidValue(at, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return invalidValue(at, host, validation.IsDNS1123Subdomain(host))
}

func validateIngressRule(rule networkingv1.IngressRule, at *field.Path, allow ingressTolerance) field.ErrorList {
	var errs field.ErrorList
	if rule.Host != "" {
		if netutils.ParseIPSloppy(rule.Host) != nil {
			errs = append(errs, field.Invalid(at.Child("host"), rule.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validateIngressHost(rule.Host, at.Child("host"))...)
	}
	if allow.wildcardRules && strings.Contains(rule.Host, "*") {
		return errs
	}
	return append(errs, validateIngressPaths(rule.HTTP, at.Child("http"))...)
}

func validateIngressPaths(http *networkingv1.HTTPIngressRuleValue, at *field.Path) field.ErrorList {
	if http == nil {
		return nil
	}
	var errs field.ErrorList
	if len(http.Paths) == 0 {
		errs = append(errs, field.Required(at.Child("paths"), ""))
	}
	for i := range http.Paths {
		errs = append(errs, validateIngressPath(&http.Paths[i], at.Child("paths").Index(i))...)
	}
	return errs
}

func validateIngressPath(p *networkingv1.HTTPIngressPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.PathType == nil {
		return field.ErrorList{field.Required(at.Child("pathType"), "pathType must be specified")}
	}
	absolute := func(when bool) {
		if when && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		absolute(true)
		errs = append(errs, validateIngressPathText(p.Path, at.Child("path"))...)
	case networkingv1.PathTypeImplementationSpecific:
		absolute(p.Path != "")
	default:
		errs = append(errs, field.NotSupported(at.Child("pathType"), *p.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}))
	}
	return append(errs, validateIngressBackend(&p.Backend, at.Child("backend"))...)
}

// validateIngressPathText refuses what a proxy would rewrite before it compares.
func validateIngressPathText(text string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(text, bad) {
			errs = append(errs, field.Invalid(at, text, fmt.Sprintf("must not contain '%s'", bad)))
		}
	}
	for _, bad := range []string{"/..", "/."} {
		if strings.HasSuffix(text, bad) {
			errs = append(errs, field.Invalid(at, text, fmt.Sprintf("cannot end with '%s'", bad)))
		}
	}
	return errs
}

func validateIngressBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(at, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateIngressReference(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, at.Child("resource"))
	case b.Service != nil:
		return validateIngressService(b.Service, at)
	}
	return field.ErrorList{field.Invalid(at, "", "resource or service backend is required")}
}

func validateIngressService(s *networkingv1.IngressServiceBackend, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("service", "name"), ""))
	} else {
		errs = append(errs, invalidValue(at.Child("service", "name"), s.Name, apivalidation.NameIsDNSLabel(s.Name, false))...)
	}
	port := at.Child("service", "port")
	switch named, numbered := s.Port.Name != "", s.Port.Number != 0; {
	case named && numbered:
		return append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case named:
		return append(errs, invalidValue(port.Child("name"), s.Port.Name, validation.IsValidPortName(s.Port.Name))...)
	case numbered:
		return append(errs, invalidValue(port.Child("number"), s.Port.Number, validation.IsValidPortNum(int(s.Port.Number)))...)
	}
	return append(errs, field.Required(at, "port name or number is required"))
}

// validateIngressReference wants a kind and a name, of a group if one is given.
func validateIngressReference(group *string, kind, name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if group != nil {
		errs = append(errs, invalidValue(at.Child("apiGroup"), *group, validation.IsDNS1123Subdomain(*group))...)
	}
	errs = append(errs, validatePathSegment(kind, at.Child("kind"))...)
	return append(errs, validatePathSegment(name, at.Child("name"))...)
}

// validatePathSegment wants a value that can stand in a URL's path.
func validatePathSegment(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalidValue(at, value, content.IsPathSegmentName(value))
}

func validateIngressStatus(_ *Write, ing, old *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	var known []string
	for _, p := range old.Status.LoadBalancer.Ingress {
		if p.IP != "" {
			known = append(known, p.IP)
		}
	}
	for i, p := range ing.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if p.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), p.IP, true, known)...)
		}
		errs = append(errs, validateBalancerHostname(p.Hostname, at.Child("hostname"))...)
	}
	return errs
}

// validateBalancerHostname wants a DNS name or nothing, of Ingresses and Services alike.
func validateBalancerHostname(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	errs := invalidValue(at, name, validation.IsDNS1123Subdomain(name))
	if netutils.ParseIPSloppy(name) != nil {
		errs = append(errs, field.Invalid(at, name, "must be a DNS name, not an IP address"))
	}
	return errs
}

// portProtocols are those that Services, endpoints and policies may name, sorted.
func portProtocols() []corev1.Protocol {
	return []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
}
