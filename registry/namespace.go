package registry

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// namespace holds objects. It stays, Terminating, until a controller has emptied it and taken the finalizer of
// spec.finalizers away through the finalize door.
func namespace() *Resource {
	return Kind[*corev1.Namespace]{
		Resource: Resource{
			Plural: "namespaces", Singular: "namespace", Kind: "Namespace", ShortNames: []string{"ns"},
			Verbs:  []string{"create", "delete", "get", "list", "patch", "update", "watch"},
			Prefix: "namespaces", Governs: true, Versions: []Version{{Name: "v1"}},

			DeleteReturnsObject: true,
			MarkFirst:           true,
			ValidateName:        apivalidation.ValidateNamespaceName,
			Reset:               []string{"status"},
			UpdateMeta:          UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				{Name: "Status", Type: "string", Description: "The status of the namespace"},
				ageColumn(),
			},
		},
		Default: func(n *corev1.Namespace) {
			labelNamespace(n)
			fill(&n.Status.Phase, corev1.NamespaceActive)
		},
		Prepare:      prepareNamespace,
		Validate:     validateNamespace,
		Canonicalize: labelNamespace,
		MarkDeleting: func(n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating },
		Holds:        func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 },
		Cells: func(n *corev1.Namespace) []any {
			return []any{n.Name, string(n.Status.Phase), Age{At: n.CreationTimestamp}}
		},
		Fields: []Field[*corev1.Namespace]{
			{Path: "status.phase", Value: func(n *corev1.Namespace) string { return string(n.Status.Phase) }},
		},
		Status: &Door[*corev1.Namespace]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, n, old *corev1.Namespace) { n.Spec = old.Spec },
			Validate: validateNamespaceStatus,
		},
		Doors: map[string]Door[*corev1.Namespace]{"finalize": {
			Verbs:    []string{"update"},
			Reset:    []string{"status"},
			Prepare:  func(_ *Write, n, old *corev1.Namespace) { n.Status = old.Status },
			Validate: validateNamespaceFinalize,
		}},
	}.row()
}

// labelNamespace has the namespace carry its name as a label, for selectors. A generated name is known to
// Canonicalize only.
func labelNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func prepareNamespace(_ *Write, n, old *corev1.Namespace) {
	if old != nil {
		n.Spec.Finalizers, n.Status = old.Spec.Finalizers, old.Status
		return
	}
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func validateNamespace(_ *Write, n, _ *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for _, name := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizerName(string(name), field.NewPath("spec", "finalizers"))...)
	}
	return errs
}

func validateNamespaceStatus(_ *Write, n, _ *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	phase := field.NewPath("status", "Phase")
	if n.DeletionTimestamp.IsZero() {
		if n.Status.Phase != corev1.NamespaceActive {
			errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
		}
	} else if n.Status.Phase != corev1.NamespaceTerminating {
		errs = append(errs, field.Invalid(phase, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
	}
	return errs
}

func validateNamespaceFinalize(_ *Write, n, _ *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for i, name := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizerName(string(name), field.NewPath("spec", "finalizers").Index(i))...)
	}
	return errs
}

// validateFinalizerName wants a qualified name, or one of the three that have none.
func validateFinalizerName(name string, at *field.Path) field.ErrorList {
	errs := invalidValue(at, name, validation.IsQualifiedName(name))
	plain := []string{string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}
	if !strings.Contains(name, "/") && !slices.Contains(plain, name) {
		errs = append(errs, field.Invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified"))
	}
	return errs
}
