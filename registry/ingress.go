package registry

import (
	"cmp"
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ingressClassAnnotation is how a class was chosen before spec.ingressClassName.
const ingressClassAnnotation = "kubernetes.io/ingress.class"

// ingress routes HTTP by host and path to Services.
func ingress() *Resource {
	return Kind[*networkingv1.Ingress]{
		Resource: Resource{
			Group: networkingv1.GroupName, Plural: "ingresses", Singular: "ingress", Kind: "Ingress", ShortNames: []string{"ing"},
			Namespaced: true, Prefix: "ingress", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain,
			Reset:        []string{"status"},
			UpdateMeta:   UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Class", Type: "string", Description: "The name of the IngressClass resource that should be used for additional configuration"},
				{Name: "Hosts", Type: "string", Description: "Hosts that incoming requests are matched against before the ingress rule"},
				{Name: "Address", Type: "string", Description: "Address is a list containing ingress points for the load-balancer"},
				{Name: "Ports", Type: "string", Description: "Ports of TLS configurations that open"},
				ageColumn(),
			},
		},
		Cells: ingressCells,
		Prepare: func(_ *Write, ing, old *networkingv1.Ingress) {
			if old == nil {
				ing.Status, ing.Generation = networkingv1.IngressStatus{}, 1
				return
			}
			ing.Status = old.Status
			bumpGeneration(ing, old, !equal(ing.Spec, old.Spec))
		},
		Validate: validateIngress,
		Warn:     ingressWarnings,
		Status: &Door[*networkingv1.Ingress]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, ing, old *networkingv1.Ingress) { ing.Spec = old.Spec },
			Validate: validateIngressStatus,
			Warn: func(_ *Write, ing, _ *networkingv1.Ingress) []string {
				var warnings []string
				for i, in := range ing.Status.LoadBalancer.Ingress {
					if in.IP != "" {
						warnings = append(warnings, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), in.IP)...)
					}
				}
				return warnings
			},
		},
	}.row()
}

func ingressWarnings(_ *Write, ing, old *networkingv1.Ingress) []string {
	if _, set := ing.Annotations[ingressClassAnnotation]; old == nil && set && ing.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", ingressClassAnnotation)}
	}
	return nil
}

func ingressCells(ing *networkingv1.Ingress) []any {
	class, ports := "<none>", "80"
	if ing.Spec.IngressClassName != nil {
		class = *ing.Spec.IngressClassName
	}
	if len(ing.Spec.TLS) > 0 {
		ports = "80, 443"
	}
	var points []string
	for _, p := range ing.Status.LoadBalancer.Ingress {
		points = append(points, cmp.Or(p.IP, p.Hostname))
	}
	return []any{ing.Name, class, ingressHosts(ing.Spec.Rules), joinedSet(points), ports, Age{At: ing.CreationTimestamp}}
}

// ingressHosts names the first three hosts and counts the rest of the rules.
func ingressHosts(rules []networkingv1.IngressRule) string {
	const shown = 3
	var hosts []string
	more := false
	for _, rule := range rules {
		if len(hosts) == shown {
			more = true
			break
		}
		if rule.Host != "" {
			hosts = append(hosts, rule.Host)
		}
	}
	switch {
	case len(hosts) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(rules)-shown)
	}
	return strings.Join(hosts, ",")
}
