package registry

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// The limits of an EndpointSlice.
const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxSliceAddresses = 100 // of an endpoint
	maxSliceTopology  = 16  // labels of an endpoint's deprecatedTopology
	maxSliceHints     = 8   // zones, and nodes, of an endpoint
)

func validateEndpointSlice(_ *Write, s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateSliceAddressType(s.AddressType)
	errs = append(errs, validateSlicePorts(s.Ports)...)
	// What was accepted by older rules stays acceptable while nobody touches it.
	if old == nil || !equal(s.Endpoints, old.Endpoints) {
		errs = append(errs, validateSliceEndpoints(s)...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
	}
	return errs
}

func validateSliceAddressType(t discoveryv1.AddressType) field.ErrorList {
	known := []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	switch at := field.NewPath("addressType"); {
	case t == "":
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(known, t):
		return field.ErrorList{field.NotSupported(at, t, known)}
	}
	return nil
}

func validateSlicePorts(ports []discoveryv1.EndpointPort) field.ErrorList {
	if len(ports) > maxSlicePorts {
		return field.ErrorList{field.TooMany(field.NewPath("ports"), len(ports), maxSlicePorts)}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, p := range ports {
		at := field.NewPath("ports").Index(i)
		if *p.Name != "" {
			errs = append(errs, invalidValue(at.Child("name"), *p.Name, validation.IsDNS1123Label(*p.Name))...)
		}
		if seen[*p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		seen[*p.Name] = true
		switch {
		case p.Protocol == nil:
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		case !slices.Contains(portProtocols(), *p.Protocol):
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, portProtocols()))
		}
		errs = append(errs, validateAppProtocol(p.AppProtocol, at.Child("appProtocol"))...)
	}
	return errs
}

func validateSliceEndpoints(s *discoveryv1.EndpointSlice) field.ErrorList {
	at := field.NewPath("endpoints")
	if len(s.Endpoints) > maxSliceEndpoints {
		return field.ErrorList{field.TooMany(at, len(s.Endpoints), maxSliceEndpoints)}
	}
	var errs field.ErrorList
	for i := range s.Endpoints {
		errs = append(errs, validateSliceEndpoint(&s.Endpoints[i], s.AddressType, at.Index(i))...)
	}
	return errs
}

func validateSliceEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch n := len(e.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(at.Child("addresses"), "must contain at least 1 address"))
	case n > maxSliceAddresses:
		errs = append(errs, field.TooMany(at.Child("addresses"), n, maxSliceAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateSliceAddress(a, t, at.Child("addresses"), i)...)
	}
	if e.NodeName != nil {
		errs = append(errs, invalidValue(at.Child("nodeName"), *e.NodeName, apivalidation.NameIsDNSSubdomain(*e.NodeName, false))...)
	}
	topology := at.Child("deprecatedTopology")
	if n := len(e.DeprecatedTopology); n > maxSliceTopology {
		errs = append(errs, field.TooMany(topology, n, maxSliceTopology))
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if e.Hostname != nil {
		errs = append(errs, invalidValue(at.Child("hostname"), *e.Hostname, validation.IsDNS1123Label(*e.Hostname))...)
	}
	if e.Hints != nil {
		errs = append(errs, validateSliceHints(e.Hints, at.Child("hints"))...)
	}
	return errs
}

func validateSliceAddress(a string, t discoveryv1.AddressType, list *field.Path, i int) field.ErrorList {
	var errs field.ErrorList
	var family bool
	switch at := list.Index(i); t {
	case discoveryv1.AddressTypeIPv4:
		errs, family = validation.IsValidIPForLegacyField(at, a, true, nil), netutils.IsIPv4String(a)
	case discoveryv1.AddressTypeIPv6:
		errs, family = validation.IsValidIP(at, a), netutils.IsIPv6String(a)
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(at, a)
	default:
		return nil // the type itself is refused
	}
	if len(errs) > 0 {
		return errs
	}
	if !family {
		errs = append(errs, field.Invalid(list, a, "must be an "+string(t)+" address"))
	}
	return append(errs, validateEndpointIP(a, list.Index(i))...)
}

func validateSliceHints(h *discoveryv1.EndpointHints, at *field.Path) field.ErrorList {
	zones, nodes := at.Child("forZones"), at.Child("forNodes")
	if len(h.ForZones) > maxSliceHints {
		return field.ErrorList{field.TooMany(zones, len(h.ForZones), maxSliceHints)}
	}
	var names []string
	for _, z := range h.ForZones {
		names = append(names, z.Name)
	}
	errs := validateSliceHintNames(names, zones, validation.IsValidLabelValue)
	if len(h.ForNodes) > maxSliceHints {
		return append(errs, field.TooMany(nodes, len(h.ForNodes), maxSliceHints))
	}
	names = nil
	for _, n := range h.ForNodes {
		names = append(names, n.Name)
	}
	return append(errs, validateSliceHintNames(names, nodes, func(name string) []string {
		return apivalidation.NameIsDNSSubdomain(name, false)
	})...)
}

func validateSliceHintNames(names []string, list *field.Path, rule func(string) []string) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		at := list.Index(i).Child("name")
		if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at, name))
		}
		errs = append(errs, invalidValue(at, name, rule(name))...)
	}
	return errs
}
