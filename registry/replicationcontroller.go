package registry

import (
	"maps"
	"strconv"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// replicationController is what ReplicaSet was before: its selector knows equality only, and its template may be absent.
func replicationController() *Resource {
	return Kind[*corev1.ReplicationController]{
		Resource: Resource{
			Plural: "replicationcontrollers", Singular: "replicationcontroller", Kind: "ReplicationController",
			ShortNames: []string{"rc"}, Categories: []string{"all"},
			Namespaced: true, Prefix: "controllers", Versions: []Version{{Name: "v1"}},
			ValidateName: replicationControllerName, Reset: []string{"status"}, OrphanByDefault: true,
			UnknownField: "field label not supported: %s",
			Columns:      replicaColumns(corev1.ReplicationControllerSpec{}, corev1.ReplicationControllerStatus{}),
		},
		Default: defaultReplicationController,
		Normalize: func(c *corev1.ReplicationController) {
			if c.Spec.Template != nil {
				normalizePodTemplate(c.Spec.Template)
			}
		},
		Prepare:  prepareReplicationController,
		Validate: validateReplicationController,
		Warn:     warnReplicationController,
		Cells: func(c *corev1.ReplicationController) []any {
			return append(replicaCells(c.Name, c.Spec.Replicas, c.Status.Replicas, c.Status.ReadyReplicas, c.CreationTimestamp,
				c.Spec.Template), labels.FormatLabels(c.Spec.Selector))
		},
		Fields: []Field[*corev1.ReplicationController]{{
			Path:  "status.replicas",
			Value: func(c *corev1.ReplicationController) string { return strconv.Itoa(int(c.Status.Replicas)) },
		}},
		Status: &Door[*corev1.ReplicationController]{
			Reset:   []string{"spec"},
			Prepare: func(_ *Write, c, old *corev1.ReplicationController) { c.Spec = old.Spec },
			Validate: func(_ *Write, c, _ *corev1.ReplicationController) field.ErrorList {
				s := &c.Status
				return append(validateReplicaStatus(s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas),
					validateTallies(field.NewPath("status"), tally{"observedGeneration", s.ObservedGeneration})...)
			},
		},
		Scale: &Scaling[*corev1.ReplicationController]{
			Get: func(c *corev1.ReplicationController) *autoscalingv1.Scale {
				return newScale(c.Spec.Replicas, c.Status.Replicas, &metav1.LabelSelector{MatchLabels: c.Spec.Selector})
			},
			Set: func(c *corev1.ReplicationController, n int32) { c.Spec.Replicas = &n },
		},
	}.row()
}

// replicationControllerName leaves a prefix for generated names to the check of the name that is made of it.
func replicationControllerName(name string, asPrefix bool) []string {
	if asPrefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}

// defaultReplicationController selects by the template's labels, and carries them, where nothing else is said.
func defaultReplicationController(c *corev1.ReplicationController) {
	fillPointer(&c.Spec.Replicas, 1)
	t := c.Spec.Template
	if t == nil {
		return
	}
	if len(c.Spec.Selector) == 0 && t.Labels != nil {
		c.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(c.Labels) == 0 && t.Labels != nil {
		c.Labels = maps.Clone(t.Labels)
	}
	defaultPodTemplate(t)
}

func prepareReplicationController(_ *Write, c, old *corev1.ReplicationController) {
	if old == nil {
		c.Status = corev1.ReplicationControllerStatus{}
		c.Generation = 1
		if c.Spec.Template != nil {
			dropPodTemplateFields(c.Spec.Template, nil)
		}
		return
	}
	c.Status = old.Status
	if c.Spec.Template != nil {
		dropPodTemplateFields(c.Spec.Template, old.Spec.Template)
	}
	bumpGeneration(c, old, !equal(c.Spec, old.Spec))
}

func validateReplicationController(_ *Write, c, old *corev1.ReplicationController) field.ErrorList {
	s, path, opts := &c.Spec, field.NewPath("spec"), podTemplateOptions(nil)
	var errs field.ErrorList
	if old != nil {
		opts = podTemplateOptions(old.Spec.Template)
		errs = validateInconvertible(c, old)
	}
	errs = append(errs, validateTallies(path,
		tallyOf("replicas", s.Replicas), tally{"minReadySeconds", int64(s.MinReadySeconds)})...)
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	path = path.Child("template")
	if s.Template == nil {
		return append(errs, field.Required(path, ""))
	}
	errs = append(errs, validateTemplateMatch(s.Template, labels.SelectorFromSet(s.Selector), path)...)
	errs = append(errs, validatePodTemplateSpec(s.Template, path, opts)...)
	return append(errs, validateTemplateEndless(s.Template, "ReplicationController", path)...)
}

// validateInconvertible keeps what an object that was converted from a richer kind could not say in this one.
func validateInconvertible(c, old *corev1.ReplicationController) field.ErrorList {
	var errs field.ErrorList
	for _, key := range sortedKeys(old.Annotations) {
		if !strings.HasPrefix(key, "non-convertible.kubernetes.io") {
			continue
		}
		_, part, ok := strings.Cut(key, "/")
		switch {
		case !ok || strings.Contains(part, "/"):
		case !strings.Contains(part, "selector"):
			errs = append(errs, &field.Error{Type: field.ErrorTypeNotFound, Field: part,
				BadValue: old.Annotations[key], Detail: "unknown non-convertible field"})
		case !equal(c.Spec.Selector, old.Spec.Selector):
			errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), c.Spec.Selector, "cannot update non-convertible selector"))
		}
	}
	return errs
}

// warnReplicationController warns of the template that an update replaces: kube-apiserver does.
func warnReplicationController(_ *Write, c, old *corev1.ReplicationController) []string {
	path, subject := field.NewPath("spec", "template"), c
	var warnings []string
	switch {
	case old == nil:
		warnings = warnPodName(c.Name)
	case old.Generation == c.Generation:
		return nil
	default:
		subject = old
	}
	if subject.Spec.Template == nil {
		return warnings
	}
	return append(warnings, podTemplateWarnings(path, subject.Spec.Template)...)
}
