package registry

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// daemonSet runs a pod on every node. The number of its template's changes, a field of former versions, lives on as
// an annotation that the server keeps.
func daemonSet() *Resource {
	return Kind[*appsv1.DaemonSet]{
		Resource: Resource{
			Group: "apps", Plural: "daemonsets", Singular: "daemonset", Kind: "DaemonSet", ShortNames: []string{"ds"},
			Categories: []string{"all"}, Namespaced: true, Prefix: "daemonsets", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"},
			FieldAnnotations: []string{appsv1.DeprecatedTemplateGeneration},
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				integerColumn("Desired", doc(appsv1.DaemonSetStatus{}, "desiredNumberScheduled")),
				integerColumn("Current", doc(appsv1.DaemonSetStatus{}, "currentNumberScheduled")),
				integerColumn("Ready", doc(appsv1.DaemonSetStatus{}, "numberReady")),
				integerColumn("Up-to-date", doc(appsv1.DaemonSetStatus{}, "updatedNumberScheduled")),
				integerColumn("Available", doc(appsv1.DaemonSetStatus{}, "numberAvailable")),
				textColumn("Node Selector", doc(corev1.PodSpec{}, "nodeSelector")),
				ageColumn(),
			}, selectedContainersColumns(doc(appsv1.DaemonSetSpec{}, "selector"))...),
		},
		Accept:    acceptDaemonSet,
		Default:   defaultDaemonSet,
		Normalize: normalizeDaemonSet,
		Prepare:   prepareDaemonSet,
		Validate:  validateDaemonSet,
		Warn: func(_ *Write, d, old *appsv1.DaemonSet) []string {
			if old != nil && daemonSetGeneration(d) == daemonSetGeneration(old) {
				return nil
			}
			return podTemplateWarnings(field.NewPath("spec", "template"), &d.Spec.Template)
		},
		Cells: daemonSetCells,
		Status: &Door[*appsv1.DaemonSet]{
			Reset: []string{"spec"},
			Prepare: func(_ *Write, d, old *appsv1.DaemonSet) {
				d.Spec = old.Spec
				setDaemonSetGeneration(d, daemonSetGeneration(old))
			},
			Validate: validateDaemonSetStatus,
		},
	}.row()
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	strategy := &d.Spec.UpdateStrategy
	fill(&strategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if strategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		fillPointer(&strategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		fillPointer(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		fillPointer(&strategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	fillPointer(&d.Spec.RevisionHistoryLimit, 10)
	defaultPodTemplate(&d.Spec.Template)
}

// normalizeDaemonSet writes the template's generation the way a number is written.
func normalizeDaemonSet(d *appsv1.DaemonSet) {
	normalizePodTemplate(&d.Spec.Template)
	setDaemonSetGeneration(d, daemonSetGeneration(d))
}

// daemonSetGeneration is how often the template has changed; zero if nobody has counted yet.
func daemonSetGeneration(d *appsv1.DaemonSet) int64 {
	n, _ := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	return n
}

func setDaemonSetGeneration(d *appsv1.DaemonSet, n int64) {
	d.Annotations = withAnnotation(d.Annotations, appsv1.DeprecatedTemplateGeneration, strconv.FormatInt(n, 10))
}

// acceptDaemonSet wants the template's generation to be a number.
func acceptDaemonSet(d *appsv1.DaemonSet) error {
	if text, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		_, err := strconv.ParseInt(text, 10, 64)
		return err
	}
	return nil
}

func prepareDaemonSet(_ *Write, d, old *appsv1.DaemonSet) {
	if old == nil {
		d.Status = appsv1.DaemonSetStatus{}
		d.Generation = 1
		setDaemonSetGeneration(d, max(1, daemonSetGeneration(d)))
		dropPodTemplateFields(&d.Spec.Template, nil)
		return
	}
	d.Status = old.Status
	dropPodTemplateFields(&d.Spec.Template, &old.Spec.Template)
	generation := daemonSetGeneration(old)
	if !equal(d.Spec.Template, old.Spec.Template) {
		generation++
	}
	setDaemonSetGeneration(d, generation)
	bumpGeneration(d, old, !equal(d.Spec, old.Spec))
}

func validateDaemonSet(_ *Write, d, old *appsv1.DaemonSet) field.ErrorList {
	s, path, opts := &d.Spec, field.NewPath("spec"), podTemplateOptions(nil)
	var errs field.ErrorList
	if old != nil {
		opts = podTemplateOptions(&old.Spec.Template)
		opts.selectorValues = opts.selectorValues || hasBadSelector(old.Spec.Selector)
		errs = append(errs, apivalidation.ValidateImmutableField(s.Selector, old.Spec.Selector, path.Child("selector"))...)
	}
	errs = append(errs, validateTallies(path,
		tally{"minReadySeconds", int64(s.MinReadySeconds)}, tallyOf("revisionHistoryLimit", s.RevisionHistoryLimit))...)
	errs = append(errs, validateSelection(s.Selector, "daemonset", opts.selectorValues, path.Child("selector"))...)
	errs = append(errs, validateDaemonSetStrategy(&s.UpdateStrategy, path.Child("updateStrategy"))...)
	path = path.Child("template")
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil {
		errs = append(errs, validateTemplateMatch(&s.Template, selector, path)...)
	}
	errs = append(errs, validatePodTemplateSpec(&s.Template, path, opts)...)
	return append(errs, validateTemplateEndless(&s.Template, "DaemonSet", path)...)
}

func validateDaemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		return validateDaemonSetRolling(*s.RollingUpdate.MaxUnavailable, *s.RollingUpdate.MaxSurge, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, s,
		[]appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
}

// validateDaemonSetRolling wants one of the two: a node's pod either goes before its successor comes, or after.
func validateDaemonSetRolling(unavailable, surge intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validateRolloutShare(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validateRolloutShare(surge, path.Child("maxSurge"))...)
	switch noneUnavailable, noSurge := isRolloutNone(unavailable), isRolloutNone(surge); {
	case !noneUnavailable && !noSurge:
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case noneUnavailable && noSurge:
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func validateDaemonSetStatus(_ *Write, d, old *appsv1.DaemonSet) field.ErrorList {
	s, path := &d.Status, field.NewPath("status")
	return append(validateTallies(path,
		tally{"currentNumberScheduled", int64(s.CurrentNumberScheduled)},
		tally{"numberMisscheduled", int64(s.NumberMisscheduled)},
		tally{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)},
		tally{"numberReady", int64(s.NumberReady)},
		tally{"observedGeneration", s.ObservedGeneration},
		tally{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)},
		tally{"numberAvailable", int64(s.NumberAvailable)},
		tally{"numberUnavailable", int64(s.NumberUnavailable)},
		tallyOf("collisionCount", s.CollisionCount),
	), validateCollisions(s.CollisionCount, old.Status.CollisionCount, path)...)
}

func daemonSetCells(d *appsv1.DaemonSet) []any {
	s := &d.Status
	cells := []any{d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
		int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable), labels.FormatLabels(d.Spec.Template.Spec.NodeSelector),
		Age{At: d.CreationTimestamp}}
	return append(append(cells, containerCells(&d.Spec.Template)...), metav1.FormatLabelSelector(d.Spec.Selector))
}
