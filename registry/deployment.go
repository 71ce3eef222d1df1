package registry

import (
	"fmt"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deployment rolls ReplicaSets forward and back.
func deployment() *Resource {
	return Kind[*appsv1.Deployment]{
		Resource: Resource{
			Group: "apps", Plural: "deployments", Singular: "deployment", Kind: "Deployment", ShortNames: []string{"deploy"},
			Categories: []string{"all"}, Namespaced: true, Prefix: "deployments", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"},
			FieldAnnotations: []string{appsv1.DeprecatedRollbackTo},
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Ready", "Number of the pod with ready state"),
				textColumn("Up-to-date", doc(appsv1.DeploymentStatus{}, "updatedReplicas")),
				textColumn("Available", doc(appsv1.DeploymentStatus{}, "availableReplicas")),
				ageColumn(),
			}, selectedContainersColumns(doc(appsv1.DeploymentSpec{}, "selector"))...),
		},
		Accept:    acceptDeployment,
		Default:   defaultDeployment,
		Normalize: normalizeDeployment,
		Prepare:   prepareDeployment,
		Validate:  validateDeployment,
		Warn: func(_ *Write, d, old *appsv1.Deployment) []string {
			return warnReplicas(d.Name, &d.Spec.Template, old == nil, old == nil || d.Generation != old.Generation)
		},
		Cells: deploymentCells,
		Status: &Door[*appsv1.Deployment]{
			Reset:    []string{"spec", "metadata.labels"},
			Prepare:  func(_ *Write, d, old *appsv1.Deployment) { d.Spec, d.Labels = old.Spec, old.Labels },
			Validate: validateDeploymentStatus,
		},
		Scale: &Scaling[*appsv1.Deployment]{
			Get: func(d *appsv1.Deployment) *autoscalingv1.Scale {
				return newScale(d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
			},
			Set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
		},
	}.row()
}

func defaultDeployment(d *appsv1.Deployment) {
	fillPointer(&d.Spec.Replicas, 1)
	strategy := &d.Spec.Strategy
	fill(&strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		fillPointer(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		fillPointer(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		fillPointer(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	fillPointer(&d.Spec.RevisionHistoryLimit, 10)
	fillPointer(&d.Spec.ProgressDeadlineSeconds, 600)
	defaultPodTemplate(&d.Spec.Template)
}

// acceptDeployment wants the revision to roll back to, if there is one, to be a number.
func acceptDeployment(d *appsv1.Deployment) error {
	text := d.Annotations[appsv1.DeprecatedRollbackTo]
	if text == "" {
		return nil
	}
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return fmt.Errorf("failed to parse annotation[%s]=%s as int64: %w", appsv1.DeprecatedRollbackTo, text, err)
	}
	return nil
}

// normalizeDeployment writes the revision to roll back to, a field of former versions that lives on as an annotation,
// the way a number is written. Replicas are never absent: where none were asked for, as in a bookmark, there are none.
func normalizeDeployment(d *appsv1.Deployment) {
	normalizePodTemplate(&d.Spec.Template)
	fillPointer(&d.Spec.Replicas, 0)
	text, ok := d.Annotations[appsv1.DeprecatedRollbackTo]
	if !ok {
		return
	}
	revision, err := strconv.ParseInt(text, 10, 64)
	switch {
	case text == "":
		d.Annotations = maps.Clone(d.Annotations)
		delete(d.Annotations, appsv1.DeprecatedRollbackTo)
	case err == nil:
		d.Annotations = withAnnotation(d.Annotations, appsv1.DeprecatedRollbackTo, strconv.FormatInt(revision, 10))
	}
}

// prepareDeployment counts changed annotations as well: they are copied to the ReplicaSets.
func prepareDeployment(_ *Write, d, old *appsv1.Deployment) {
	if old == nil {
		d.Status = appsv1.DeploymentStatus{}
		d.Generation = 1
		dropPodTemplateFields(&d.Spec.Template, nil)
		return
	}
	d.Status = old.Status
	dropPodTemplateFields(&d.Spec.Template, &old.Spec.Template)
	bumpGeneration(d, old, !equal(d.Spec, old.Spec) || !equal(d.Annotations, old.Annotations))
}

func validateDeployment(_ *Write, d, old *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("spec")
	if old == nil {
		return append(validateDeploymentSpec(&d.Spec, path, podTemplateOptions(nil)), validateRollback(d)...)
	}
	errs := validateDeploymentSpec(&d.Spec, path, podTemplateOptions(&old.Spec.Template))
	errs = append(errs, validateRollback(d)...)
	return append(errs, apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
}

func validateDeploymentSpec(s *appsv1.DeploymentSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateTallies(path,
		tallyOf("replicas", s.Replicas),
		tally{"minReadySeconds", int64(s.MinReadySeconds)},
		tallyOf("revisionHistoryLimit", s.RevisionHistoryLimit),
		tallyOf("progressDeadlineSeconds", s.ProgressDeadlineSeconds))
	errs = append(errs, validateReplicaTemplate(s.Selector, &s.Template, path, opts)...)
	errs = append(errs, validateDeploymentStrategy(&s.Strategy, path.Child("strategy"))...)
	if deadline := s.ProgressDeadlineSeconds; deadline != nil && *deadline <= s.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
	}
	return errs
}

func validateRollback(d *appsv1.Deployment) field.ErrorList {
	text, ok := d.Annotations[appsv1.DeprecatedRollbackTo]
	if !ok {
		return nil
	}
	revision, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations").Key(appsv1.DeprecatedRollbackTo), text, err.Error())}
	}
	return validateNonnegative(revision, field.NewPath("spec", "rollback", "version"))
}

func validateDeploymentStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch rolling := s.RollingUpdate; {
	case s.Type == appsv1.RecreateDeploymentStrategyType && rolling != nil:
		return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
	case s.Type == appsv1.RecreateDeploymentStrategyType:
		return nil
	case s.Type == appsv1.RollingUpdateDeploymentStrategyType:
		return validateDeploymentRolling(*rolling.MaxUnavailable, *rolling.MaxSurge, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, s,
		[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

// validateDeploymentRolling leaves the surge unbounded: ten times the replicas may be there during an update.
func validateDeploymentRolling(unavailable, surge intstr.IntOrString, path *field.Path) field.ErrorList {
	errs := validateRolloutShare(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validateRolloutAmount(surge, path.Child("maxSurge"))...)
	if isRolloutNone(unavailable) && isRolloutNone(surge) {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return errs
}

func validateDeploymentStatus(_ *Write, d, old *appsv1.Deployment) field.ErrorList {
	s, path := &d.Status, field.NewPath("status")
	updated, ready, available := tally{"updatedReplicas", int64(s.UpdatedReplicas)},
		tally{"readyReplicas", int64(s.ReadyReplicas)}, tally{"availableReplicas", int64(s.AvailableReplicas)}
	errs := validateTallies(path, updated, ready, available,
		tally{"observedGeneration", s.ObservedGeneration},
		tally{"replicas", int64(s.Replicas)},
		tally{"unavailableReplicas", int64(s.UnavailableReplicas)},
		tallyOf("terminatingReplicas", s.TerminatingReplicas),
		tallyOf("collisionCount", s.CollisionCount))
	errs = append(errs, validateTalliesWithin(path, s.Replicas, "cannot be greater than status.replicas", updated, ready, available)...)
	errs = append(errs, validateTalliesWithin(path, s.ReadyReplicas, "cannot be greater than readyReplicas", available)...)
	return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, path)...)
}

func deploymentCells(d *appsv1.Deployment) []any {
	selector := "<invalid>"
	if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
		selector = s.String()
	}
	cells := []any{d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, *d.Spec.Replicas),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), Age{At: d.CreationTimestamp}}
	return append(append(cells, containerCells(&d.Spec.Template)...), selector)
}
