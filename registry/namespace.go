package registry

import (
	"slices"

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
			Prefix: "namespaces", Versions: []Version{{Name: "v1"}},

			DeleteReturnsObject: true,
			ValidateName:        apivalidation.ValidateNamespaceName,
			Reset:               []string{"status"},
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
		MarkDeleting: func(n *corev1.Namespace) {
			n.Status.Phase = corev1.NamespaceTerminating
			n.DeletionGracePeriodSeconds = nil
		},
		Holds: func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 },
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

func validateNamespace(w *Write, n, old *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	if old != nil {
		errs = append(errs, validateNewMetadata(w.Resource, n)...)
	}
	for _, name := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizerName(string(name), field.NewPath("spec", "finalizers"))...)
	}
	if old != nil {
		errs = append(errs, validateChangedMetadata(n, old)...)
	}
	return errs
}

func validateNamespaceStatus(_ *Write, n, old *corev1.Namespace) field.ErrorList {
	errs := validateChangedMetadata(n, old)
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

func validateNamespaceFinalize(_ *Write, n, old *corev1.Namespace) field.ErrorList {
	errs := validateChangedMetadata(n, old)
	for i, name := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizerName(string(name), field.NewPath("spec", "finalizers").Index(i))...)
	}
	return errs
}

// validateFinalizerName wants a qualified name, or one of the three that have none.
func validateFinalizerName(name string, at *field.Path) field.ErrorList {
	return append(invalidValue(at, name, validation.IsQualifiedName(name)), validateUnqualifiedFinalizer(name, at)...)
}
