package registry

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ipAddress says who holds the address that it is named after: creating it is allocating the address.
func ipAddress() *Resource {
	return Kind[*networkingv1.IPAddress]{
		Resource: Resource{
			Group: networkingv1.GroupName, Plural: "ipaddresses", Singular: "ipaddress", Kind: "IPAddress", ShortNames: []string{"ip"},
			Prefix: "ipaddresses", Versions: []Version{{Name: "v1"}},
			ValidateName: func(name string, _ bool) []string {
				var details []string
				for _, err := range validation.IsValidIP(&field.Path{}, name) {
					details = append(details, err.Detail)
				}
				return details
			},
			UpdateMeta: UpdateAndCreateRules,
			// The age has no column of its own: upstream's rows have a cell more than columns.
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "ParentRef", Type: "string", Description: doc(networkingv1.IPAddressSpec{}, "parentRef")},
			},
		},
		Validate: validateIPAddress,
		Cells: func(a *networkingv1.IPAddress) []any {
			return []any{a.Name, ipAddressParent(a.Spec.ParentRef), Age{At: a.CreationTimestamp}}
		},
	}.row()
}

func ipAddressParent(p *networkingv1.ParentReference) string {
	if p == nil {
		return "<none>"
	}
	text := strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())
	if p.Namespace != "" {
		text += "/" + p.Namespace
	}
	return text + "/" + p.Name
}

func validateIPAddress(_ *Write, a, old *networkingv1.IPAddress) field.ErrorList {
	var errs field.ErrorList
	parent := field.NewPath("spec", "parentRef")
	if p := a.Spec.ParentRef; p == nil {
		errs = append(errs, field.Required(parent, ""))
	} else {
		errs = append(errs, validateIPAddressParent(p, parent)...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(a.Spec.ParentRef, old.Spec.ParentRef, parent)...)
	}
	return errs
}

// validateIPAddressParent takes an empty group for core.
func validateIPAddressParent(p *networkingv1.ParentReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Group != "" {
		errs = append(errs, invalidValue(at.Child("group"), p.Group, validation.IsDNS1123Subdomain(p.Group))...)
	}
	errs = append(errs, validatePathSegment(p.Resource, at.Child("resource"))...)
	errs = append(errs, validatePathSegment(p.Name, at.Child("name"))...)
	if p.Namespace != "" {
		errs = append(errs, validatePathSegment(p.Namespace, at.Child("namespace"))...)
	}
	return errs
}
