package registry

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// replicaSet keeps a number of like pods.
func replicaSet() *Resource {
	return Kind[*appsv1.ReplicaSet]{
		Resource: Resource{
			Group: "apps", Plural: "replicasets", Singular: "replicaset", Kind: "ReplicaSet", ShortNames: []string{"rs"},
			Categories: []string{"all"}, Namespaced: true, Prefix: "replicasets", Versions: []Version{{Name: "v1"}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"},
			Columns: replicaColumns(appsv1.ReplicaSetSpec{}, appsv1.ReplicaSetStatus{}),
		},
		Default: func(r *appsv1.ReplicaSet) {
			fillPointer(&r.Spec.Replicas, 1)
			defaultPodTemplate(&r.Spec.Template)
		},
		Normalize: func(r *appsv1.ReplicaSet) {
			normalizePodTemplate(&r.Spec.Template)
			fillPointer(&r.Spec.Replicas, 0) // absent only where nobody asked for any, as in a bookmark
		},
		Prepare:  prepareReplicaSet,
		Validate: validateReplicaSet,
		Warn: func(_ *Write, r, old *appsv1.ReplicaSet) []string {
			return warnReplicas(r.Name, &r.Spec.Template, old == nil, old == nil || r.Generation != old.Generation)
		},
		Cells: func(r *appsv1.ReplicaSet) []any {
			return append(replicaCells(r.Name, r.Spec.Replicas, r.Status.Replicas, r.Status.ReadyReplicas, r.CreationTimestamp,
				&r.Spec.Template), metav1.FormatLabelSelector(r.Spec.Selector))
		},
		Status: &Door[*appsv1.ReplicaSet]{
			Reset:   []string{"spec"},
			Prepare: func(_ *Write, r, old *appsv1.ReplicaSet) { r.Spec = old.Spec },
			Validate: func(_ *Write, r, _ *appsv1.ReplicaSet) field.ErrorList {
				s := &r.Status
				return append(validateReplicaStatus(s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas),
					validateTallies(field.NewPath("status"),
						tally{"observedGeneration", s.ObservedGeneration}, tallyOf("terminatingReplicas", s.TerminatingReplicas))...)
			},
		},
		Scale: &Scaling[*appsv1.ReplicaSet]{
			Get: func(r *appsv1.ReplicaSet) *autoscalingv1.Scale {
				return newScale(r.Spec.Replicas, r.Status.Replicas, r.Spec.Selector)
			},
			Set: func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
		},
	}.row()
}

func prepareReplicaSet(_ *Write, r, old *appsv1.ReplicaSet) {
	if old == nil {
		r.Status = appsv1.ReplicaSetStatus{}
		r.Generation = 1
		dropPodTemplateFields(&r.Spec.Template, nil)
		return
	}
	r.Status = old.Status
	dropPodTemplateFields(&r.Spec.Template, &old.Spec.Template)
	bumpGeneration(r, old, !equal(r.Spec, old.Spec))
}

func validateReplicaSet(_ *Write, r, old *appsv1.ReplicaSet) field.ErrorList {
	path, opts := field.NewPath("spec"), podTemplateOptions(nil)
	var errs field.ErrorList
	if old != nil {
		opts = podTemplateOptions(&old.Spec.Template)
		errs = apivalidation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, path.Child("selector"))
	}
	errs = append(errs, validateTallies(path,
		tallyOf("replicas", r.Spec.Replicas), tally{"minReadySeconds", int64(r.Spec.MinReadySeconds)})...)
	return append(errs, validateReplicaTemplate(r.Spec.Selector, &r.Spec.Template, path, opts)...)
}

// validateReplicaTemplate is about the selector and template, below path, of a ReplicaSet or of one that is yet to be
// made by a Deployment: their messages name each other.
func validateReplicaTemplate(s *metav1.LabelSelector, t *corev1.PodTemplateSpec, path *field.Path, opts podOptions) field.ErrorList {
	errs := validateSelection(s, "deployment", false, path.Child("selector"))
	if s == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), s, "invalid label selector"))
	}
	path = path.Child("template")
	errs = append(errs, validateTemplateMatch(t, selector, path)...)
	errs = append(errs, validatePodTemplateSpec(t, path, opts)...)
	return append(errs, validateTemplateEndless(t, "ReplicaSet", path)...)
}

// validateReplicaStatus is about the counts that ReplicaSet and ReplicationController share.
func validateReplicaStatus(replicas, labeled, ready, available int32) field.ErrorList {
	path := field.NewPath("status")
	parts := []tally{{"fullyLabeledReplicas", int64(labeled)}, {"readyReplicas", int64(ready)}, {"availableReplicas", int64(available)}}
	errs := validateTallies(path, append(parts, tally{"replicas", int64(replicas)})...)
	errs = append(errs, validateTalliesWithin(path, replicas, "cannot be greater than status.replicas", parts...)...)
	return append(errs, validateTalliesWithin(path, ready, "cannot be greater than readyReplicas", parts[2])...)
}

// replicaColumns are those of ReplicaSet and ReplicationController.
func replicaColumns(spec, status swaggerDocs) []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		nameColumn(),
		integerColumn("Desired", doc(spec, "replicas")),
		integerColumn("Current", doc(status, "replicas")),
		integerColumn("Ready", doc(status, "readyReplicas")),
		ageColumn(),
	}, selectedContainersColumns(doc(spec, "selector"))...)
}

// replicaCells fill replicaColumns, but for the selector.
func replicaCells(name string, wanted *int32, has, ready int32, created metav1.Time, t *corev1.PodTemplateSpec) []any {
	return append([]any{name, int64(ptr.Deref(wanted, 0)), int64(has), int64(ready), Age{At: created}}, containerCells(t)...)
}
