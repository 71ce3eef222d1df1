package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// endpointSlice is a part of the addresses behind a Service, all of one family.
func endpointSlice() *Resource {
	return Kind[*discoveryv1.EndpointSlice]{
		Resource: Resource{
			Group: discoveryv1.GroupName, Plural: "endpointslices", Singular: "endpointslice", Kind: "EndpointSlice",
			Namespaced: true, Prefix: "endpointslices", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			UpdateMeta:   CreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "AddressType", Type: "string", Description: doc(discoveryv1.EndpointSlice{}, "addressType")},
				{Name: "Ports", Type: "string", Description: doc(discoveryv1.EndpointSlice{}, "ports")},
				{Name: "Endpoints", Type: "string", Description: doc(discoveryv1.EndpointSlice{}, "endpoints")},
				ageColumn(),
			},
		},
		Default: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				fillPointer(&s.Ports[i].Name, "")
				fillPointer(&s.Ports[i].Protocol, corev1.ProtocolTCP)
			}
		},
		Prepare:  prepareEndpointSlice,
		Validate: validateEndpointSlice,
		Warn:     endpointSliceWarnings,
		Cells:    endpointSliceCells,
	}.row()
}

func endpointSliceCells(s *discoveryv1.EndpointSlice) []any {
	var ports, addresses []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			ports = append(ports, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range s.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	const none = "<unset>"
	return []any{s.Name, string(s.AddressType), cmp.Or(firstThree(ports), none), cmp.Or(firstThree(addresses), none), Age{At: s.CreationTimestamp}}
}

// prepareEndpointSlice counts generations (labels are part of what the slice says) and takes deprecatedTopology away
// from endpoints, which v1 does not write; its node name moves to the field that replaced it.
func prepareEndpointSlice(_ *Write, s, old *discoveryv1.EndpointSlice) {
	changed := old != nil && !(equal(s.Endpoints, old.Endpoints) && equal(s.Ports, old.Ports) &&
		s.AddressType == old.AddressType && equal(s.Labels, old.Labels))
	bumpGeneration(s, old, changed)
	if old != nil && equal(s.Endpoints, old.Endpoints) {
		return
	}
	known := topologyNodes(old)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		node, named := e.DeprecatedTopology[corev1.LabelHostname]
		if e.NodeName == nil && named && slices.Contains(known, node) && len(apivalidation.NameIsDNSSubdomain(node, false)) == 0 {
			e.NodeName = &node
		}
		e.DeprecatedTopology = nil
	}
}

// topologyNodes are the nodes that a stored slice still names in deprecatedTopology.
func topologyNodes(s *discoveryv1.EndpointSlice) []string {
	var names []string
	if s != nil {
		for _, e := range s.Endpoints {
			if name := e.DeprecatedTopology[corev1.LabelHostname]; name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

// endpointSliceWarnings trusts the endpoint slice controllers, which write large objects and canonical addresses.
func endpointSliceWarnings(_ *Write, s, old *discoveryv1.EndpointSlice) []string {
	var warnings []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		warnings = append(warnings, fmt.Sprintf("%s: FQDN endpoints are deprecated", field.NewPath("spec", "addressType")))
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return warnings
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return warnings // names are no addresses
	}
	for i, e := range s.Endpoints {
		for j, address := range e.Addresses {
			at := field.NewPath("endpoints").Index(i).Child("addresses").Index(j)
			warnings = append(warnings, validation.GetWarningsForIP(at, address)...)
		}
	}
	return warnings
}
