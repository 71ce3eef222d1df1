package registry

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podTemplate keeps a template for pods, and does nothing with it.
func podTemplate() *Resource {
	return Kind[*corev1.PodTemplate]{
		Resource: Resource{
			Plural: "podtemplates", Singular: "podtemplate", Kind: "PodTemplate",
			Namespaced: true, Prefix: "podtemplates", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true,
			ValidateName:        apivalidation.NameIsDNSSubdomain,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Containers", "Names of each container in the template."),
				textColumn("Images", "Images referenced by each container in the template."),
				textColumn("Pod Labels", "The labels for the pod template."),
			},
		},
		Default:   func(t *corev1.PodTemplate) { defaultPodTemplate(&t.Template) },
		Normalize: func(t *corev1.PodTemplate) { normalizePodTemplate(&t.Template) },
		Prepare:   preparePodTemplate,
		Validate:  validatePodTemplate,
		Warn:      warnPodTemplate,
		Cells: func(t *corev1.PodTemplate) []any {
			cells := append([]any{t.Name}, containerCells(&t.Template)...)
			return append(cells, labels.FormatLabels(t.Template.Labels))
		},
	}.row()
}

func preparePodTemplate(_ *Write, t, old *corev1.PodTemplate) {
	if old == nil {
		dropPodTemplateFields(&t.Template, nil)
		bumpGeneration(t, nil, true)
		return
	}
	dropPodTemplateFields(&t.Template, &old.Template)
	bumpGeneration(t, old, !equal(t.Template, old.Template))
}

func validatePodTemplate(_ *Write, t, old *corev1.PodTemplate) field.ErrorList {
	var former *corev1.PodTemplateSpec
	if old != nil {
		former = &old.Template
	}
	return validatePodTemplateSpec(&t.Template, field.NewPath("template"), podTemplateOptions(former))
}

func warnPodTemplate(_ *Write, t, old *corev1.PodTemplate) []string {
	if old != nil && t.Generation == old.Generation {
		return nil
	}
	return podTemplateWarnings(field.NewPath("template"), &t.Template)
}
