package registry

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ingressClass names the controller that serves Ingresses.
func ingressClass() *Resource {
	return Kind[*networkingv1.IngressClass]{
		Resource: Resource{
			Group: networkingv1.GroupName, Plural: "ingressclasses", Singular: "ingressclass", Kind: "IngressClass",
			Prefix: "ingressclasses", Governs: true, Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			UpdateMeta:   UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Controller", Type: "string", Description: "Controller that is responsible for handling this class"},
				{Name: "Parameters", Type: "string", Description: "A reference to a resource with additional parameters"},
				ageColumn(),
			},
		},
		Default: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil && p.Scope == nil {
				scope := networkingv1.IngressClassParametersReferenceScopeCluster
				p.Scope = &scope
			}
		},
		Prepare: func(_ *Write, c, old *networkingv1.IngressClass) {
			bumpGeneration(c, old, old != nil && !equal(c.Spec, old.Spec))
		},
		Validate: validateIngressClass,
		Cells:    ingressClassCells,
	}.row()
}

func ingressClassCells(c *networkingv1.IngressClass) []any {
	name, parameters := c.Name, "<none>"
	if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	if p := c.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, c.Spec.Controller, parameters, Age{At: c.CreationTimestamp}}
}

func validateIngressClass(_ *Write, c, old *networkingv1.IngressClass) field.ErrorList {
	const maxController = 250
	var errs field.ErrorList
	controller := field.NewPath("spec", "controller")
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, controller)...)
	}
	if len(c.Spec.Controller) > maxController {
		errs = append(errs, field.TooLong(controller, "", maxController))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(controller, c.Spec.Controller)...)
	if p := c.Spec.Parameters; p != nil {
		errs = append(errs, validateIngressClassParameters(p, field.NewPath("spec", "parameters"))...)
	}
	return errs
}

func validateIngressClassParameters(p *networkingv1.IngressClassParametersReference, at *field.Path) field.ErrorList {
	const namespaced, cluster = networkingv1.IngressClassParametersReferenceScopeNamespace, networkingv1.IngressClassParametersReferenceScopeCluster
	errs := validateIngressReference(p.APIGroup, p.Kind, p.Name, at)
	if p.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	ns := at.Child("namespace")
	switch {
	case *p.Scope != namespaced && *p.Scope != cluster:
		errs = append(errs, field.NotSupported(at.Child("scope"), *p.Scope, []string{cluster, namespaced}))
	case *p.Scope == cluster && p.Namespace != nil:
		errs = append(errs, field.Forbidden(ns, "`parameters.scope` is set to 'Cluster'"))
	case *p.Scope == namespaced && p.Namespace == nil:
		errs = append(errs, field.Required(ns, "`parameters.scope` is set to 'Namespace'"))
	case *p.Scope == namespaced:
		errs = append(errs, invalidValue(ns, *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))...)
	}
	return errs
}
