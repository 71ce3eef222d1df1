package registry

import (
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deviceRequestNames are the names of a claim's requests, each with those of its alternatives.
type deviceRequestNames map[string][]string

func deviceRequestNamesOf(c *resourcev1.DeviceClaim) deviceRequestNames {
	names := deviceRequestNames{}
	for _, r := range c.Requests {
		names[r.Name] = nil
		for _, sub := range r.FirstAvailable {
			names[r.Name] = append(names[r.Name], sub.Name)
		}
	}
	return names
}

// validateReference wants the name of a request, or of a request and one of its alternatives ("gpu/large").
func (n deviceRequestNames) validateReference(ref string, at *field.Path) field.ErrorList {
	unknown := field.Invalid(at, ref, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'")
	parts := strings.Split(ref, "/")
	if len(parts) > 2 {
		return field.ErrorList{unknown}
	}
	var errs field.ErrorList
	for _, p := range parts {
		errs = append(errs, validateDNSLabel(p, at)...)
	}
	subs, known := n[parts[0]]
	if !known || len(parts) == 2 && !slices.Contains(subs, parts[1]) {
		errs = append(errs, unknown)
	}
	return errs
}

func (n deviceRequestNames) validateReferences(list []string, at *field.Path) field.ErrorList {
	return validateDistinct(list, resourcev1.DeviceRequestsMaxSize, at, itself, n.validateReference)
}

func validateDeviceClaim(c *resourcev1.DeviceClaim, at *field.Path) field.ErrorList {
	names := deviceRequestNamesOf(c)
	errs := validateDistinct(c.Requests, resourcev1.DeviceRequestsMaxSize, at.Child("requests"),
		func(r resourcev1.DeviceRequest) string { return r.Name }, validateDeviceRequest)
	errs = append(errs, validateItems(c.Constraints, resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"),
		func(c resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
			return append(names.validateReferences(c.Requests, at.Child("requests")), validateDeviceConstraint(&c, at)...)
		})...)
	return append(errs, validateItems(c.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"),
		func(c resourcev1.DeviceClaimConfiguration, at *field.Path) field.ErrorList {
			return append(names.validateReferences(c.Requests, at.Child("requests")), validateDeviceConfiguration(c.DeviceConfiguration, false, at)...)
		})...)
}

func validateDeviceConstraint(c *resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
	switch {
	case c.MatchAttribute != nil:
		return validateDeviceFullName(*c.MatchAttribute, at.Child("matchAttribute"))
	case c.DistinctAttribute != nil:
		return validateDeviceFullName(*c.DistinctAttribute, at.Child("distinctAttribute"))
	}
	return field.ErrorList{field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)}
}

func validateDeviceRequest(r resourcev1.DeviceRequest, at *field.Path) field.ErrorList {
	const one = "exactly one of `exactly` or `firstAvailable` is required"
	errs := validateDNSLabel(r.Name, at.Child("name"))
	switch alternatives := len(r.FirstAvailable) > 0; {
	case alternatives && r.Exactly != nil:
		return append(errs, field.Invalid(at, nil, one+", but multiple fields are set"))
	case alternatives:
		return append(errs, validateDistinct(r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, at.Child("firstAvailable"),
			func(s resourcev1.DeviceSubRequest) string { return s.Name }, validateDeviceSubRequest)...)
	case r.Exactly == nil:
		return append(errs, field.Required(at, one))
	}
	return append(errs, validateWantedDevices(wantedDevices{
		r.Exactly.DeviceClassName, r.Exactly.Selectors, r.Exactly.AllocationMode, r.Exactly.Count, r.Exactly.Tolerations,
	}, at.Child("exactly"))...)
}

func validateDeviceSubRequest(s resourcev1.DeviceSubRequest, at *field.Path) field.ErrorList {
	errs := validateDNSLabel(s.Name, at.Child("name"))
	return append(errs, validateWantedDevices(wantedDevices{
		s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations,
	}, at)...)
}

// wantedDevices is what a request and its alternatives share.
type wantedDevices struct {
	class       string
	selectors   []resourcev1.DeviceSelector
	mode        resourcev1.DeviceAllocationMode
	count       int64
	tolerations []resourcev1.DeviceToleration
}

func validateWantedDevices(d wantedDevices, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if d.class == "" {
		errs = append(errs, field.Required(at.Child("deviceClassName"), ""))
	} else {
		errs = append(errs, validateDNSSubdomain(d.class, at.Child("deviceClassName"))...)
	}
	errs = append(errs, validateDeviceSelectors(d.selectors, false, at.Child("selectors"))...)
	switch d.mode {
	case resourcev1.DeviceAllocationModeAll:
		if d.count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), d.count, fmt.Sprintf("must not be specified when allocationMode is '%s'", d.mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		errs = append(errs, validatePositive(d.count, at.Child("count"))...)
	default:
		errs = append(errs, validateChoice(d.mode, at.Child("allocationMode"),
			resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)...)
	}
	for i, t := range d.tolerations {
		errs = append(errs, validateDeviceToleration(t, at.Child("tolerations").Index(i))...)
	}
	return errs
}
