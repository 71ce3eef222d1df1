package admission

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
)

// ingressClassAnnotation is how an ingress named its class before there was a field for it.
const ingressClassAnnotation = "kubernetes.io/ingress.class"

// defaultIngressClass gives an ingress that names no class the default one, the youngest if there are several.
func defaultIngressClass(objects Objects) Plugin {
	return Plugin{Operations: []Operation{Create}, Mutate: func(ctx context.Context, a *Attributes) error {
		ingress, ok := a.Object.(*networkingv1.Ingress)
		if !ok || !a.Is(networkingv1.GroupName, "ingresses") || ingress.Spec.IngressClassName != nil {
			return nil
		}
		if _, named := ingress.Annotations[ingressClassAnnotation]; named {
			return nil
		}
		all, err := objects.List(ctx, networkingv1.GroupName, "ingressclasses", "")
		if err != nil {
			return a.refuse(err)
		}
		class := best(all, func(c *networkingv1.IngressClass) bool {
			return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		}, func(a, b *networkingv1.IngressClass) bool {
			if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
				return a.Name < b.Name
			}
			return b.CreationTimestamp.Before(&a.CreationTimestamp)
		})
		if class != nil {
			ingress.Spec.IngressClassName = new(class.Name) // the class is shared
		}
		return nil
	}}
}
