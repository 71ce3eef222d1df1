package registry

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// serviceCIDR is a range that cluster IPs are allocated from, one of each family at most.
func serviceCIDR() *Resource {
	return Kind[*networkingv1.ServiceCIDR]{
		Resource: Resource{
			Group: networkingv1.GroupName, Plural: "servicecidrs", Singular: "servicecidr", Kind: "ServiceCIDR",
			Prefix: "servicecidrs", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			Reset:        []string{"status"},
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "CIDRs", Type: "string", Description: doc(networkingv1.ServiceCIDRSpec{}, "cidrs")},
				ageColumn(),
			},
		},
		Prepare: func(_ *Write, c, old *networkingv1.ServiceCIDR) {
			c.Status = networkingv1.ServiceCIDRStatus{}
			if old != nil {
				c.Status = old.Status
			}
		},
		Validate: validateServiceCIDR,
		Cells: func(c *networkingv1.ServiceCIDR) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), Age{At: c.CreationTimestamp}}
		},
		Status: &Door[*networkingv1.ServiceCIDR]{
			Reset: []string{"metadata", "spec"},
			Prepare: func(_ *Write, c, old *networkingv1.ServiceCIDR) {
				c.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
			},
		},
	}.row()
}

func validateServiceCIDR(_ *Write, c, old *networkingv1.ServiceCIDR) field.ErrorList {
	at := field.NewPath("spec", "cidrs")
	if old == nil {
		return validateServiceRanges(&c.Spec, at)
	}
	var errs field.ErrorList
	was, is := old.Spec.CIDRs, c.Spec.CIDRs
	const immutable = apivalidation.FieldImmutableErrorMsg
	switch {
	case len(was) == len(is):
		for i := range was {
			if was[i] != is[i] {
				errs = append(errs, field.Invalid(at.Index(i), is[i], immutable))
			}
		}
	case len(was) == 1 && len(is) == 2: // single to dual stack
		if was[0] != is[0] {
			errs = append(errs, field.Invalid(at.Index(0), is[0], immutable))
		}
		errs = append(errs, validateServiceRanges(&c.Spec, at)...)
	default:
		errs = append(errs, field.Invalid(at, is, immutable))
	}
	return errs
}

// validateServiceRanges wants one range, or two of different families.
func validateServiceRanges(spec *networkingv1.ServiceCIDRSpec, at *field.Path) field.ErrorList {
	switch n := len(spec.CIDRs); {
	case n == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case n > 2:
		return field.ErrorList{field.Invalid(at, spec, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	for i, cidr := range spec.CIDRs {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), cidr)...)
	}
	if len(spec.CIDRs) == 2 {
		family := netutils.IPFamilyOfCIDRString(spec.CIDRs[0])
		if family != netutils.IPFamilyUnknown && family == netutils.IPFamilyOfCIDRString(spec.CIDRs[1]) {
			errs = append(errs, field.Invalid(at, spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		}
	}
	return errs
}
