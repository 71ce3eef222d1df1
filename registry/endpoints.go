package registry

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// endpoints are the addresses behind a Service of the same name, in the form before EndpointSlices.
func endpoints() *Resource {
	return Kind[*corev1.Endpoints]{
		Resource: Resource{
			Plural: "endpoints", Singular: "endpoints", Kind: "Endpoints", ShortNames: []string{"ep"},
			Namespaced: true, Prefix: "services/endpoints",
			Versions: []Version{{Name: "v1", Warning: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}},

			CreateOnUpdate: true,
			UpdateMeta:     UpdateAndCreateRules,
			ValidateName:   apivalidation.NameIsDNSSubdomain,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Endpoints", Type: "string", Description: doc(corev1.Endpoints{}, "subsets")},
				ageColumn(),
			},
		},
		Default: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					if p := &e.Subsets[i].Ports[j]; p.Protocol == "" {
						p.Protocol = corev1.ProtocolTCP
					}
				}
			}
		},
		Validate: validateEndpoints,
		Warn:     endpointsWarnings,
		Cells: func(e *corev1.Endpoints) []any {
			return []any{e.Name, endpointsCell(e), Age{At: e.CreationTimestamp}}
		},
	}.row()
}

// endpointsCell shows the first three addresses with their ports.
func endpointsCell(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var all []string
	for _, s := range e.Subsets {
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return firstThree(all)
}

func validateEndpoints(_ *Write, e, old *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	// What was accepted by older rules stays acceptable while nobody touches it.
	if old == nil || !equal(e.Subsets, old.Subsets) {
		for i := range e.Subsets {
			errs = append(errs, validateEndpointSubset(&e.Subsets[i], field.NewPath("subsets").Index(i))...)
		}
	}
	return errs
}

func validateEndpointSubset(s *corev1.EndpointSubset, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
		errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
	}
	for i := range s.Addresses {
		errs = append(errs, validateEndpointAddress(&s.Addresses[i], at.Child("addresses").Index(i))...)
	}
	for i := range s.NotReadyAddresses {
		errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[i], at.Child("notReadyAddresses").Index(i))...)
	}
	for i := range s.Ports {
		errs = append(errs, validateEndpointPort(&s.Ports[i], len(s.Ports) > 1, at.Child("ports").Index(i))...)
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, at *field.Path) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, nil)
	if a.Hostname != "" {
		errs = append(errs, invalidValue(at.Child("hostname"), a.Hostname, validation.IsDNS1123Label(a.Hostname))...)
	}
	if a.NodeName != nil {
		errs = append(errs, invalidValue(at.Child("nodeName"), *a.NodeName, apivalidation.NameIsDNSSubdomain(*a.NodeName, false))...)
	}
	return append(errs, validateEndpointIP(a.IP, at.Child("ip"))...)
}

// validateEndpointIP refuses addresses that cannot be reached from elsewhere; external IPs share the rule.
func validateEndpointIP(text string, at *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(text)
	if ip == nil {
		return field.ErrorList{field.Invalid(at, text, "must be a valid IP address")}
	}
	var errs field.ErrorList
	for _, rule := range []struct {
		broken bool
		why    string
	}{
		{ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", text)},
		{ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if rule.broken {
			errs = append(errs, field.Invalid(at, text, rule.why))
		}
	}
	return errs
}

func validateEndpointPort(p *corev1.EndpointPort, nameRequired bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, invalidValue(at.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
	} else if nameRequired {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	errs = append(errs, invalidValue(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, validatePortProtocol(p.Protocol, at.Child("protocol"))...)
	return append(errs, validateAppProtocol(p.AppProtocol, at.Child("appProtocol"))...)
}

func validatePortProtocol(p corev1.Protocol, at *field.Path) field.ErrorList {
	switch {
	case p == "":
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(portProtocols(), p):
		return field.ErrorList{field.NotSupported(at, p, portProtocols())}
	}
	return nil
}

// validateAppProtocol wants a qualified name or nothing.
func validateAppProtocol(p *string, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return invalidValue(at, *p, validation.IsQualifiedName(*p))
}

// endpointsWarnings trusts the endpoints controller, which writes large objects and canonical addresses.
func endpointsWarnings(_ *Write, e, _ *corev1.Endpoints) []string {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var warnings []string
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			warnings = append(warnings, validation.GetWarningsForIP(at.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			warnings = append(warnings, validation.GetWarningsForIP(at.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return warnings
}
