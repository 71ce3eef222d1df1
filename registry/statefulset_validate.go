package registry

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// statefulSetOptions is what an update may keep. The zero value is the rules for new objects.
type statefulSetOptions struct {
	// pod is what the old template allows the new one.
	pod podOptions
	// immutables: the service name and the claim templates cannot change, so that old mistakes in them are kept.
	immutables bool
	// template: the pod template itself is not validated, because the old object was invalid as well.
	template bool
}

func validateStatefulSet(_ *Write, s, old *appsv1.StatefulSet) field.ErrorList {
	path := field.NewPath("spec")
	if old == nil {
		return validateStatefulSetSpec(&s.Spec, path, statefulSetOptions{})
	}
	opts := statefulSetOptions{pod: podTemplateOptions(&old.Spec.Template), immutables: true}
	opts.template = len(validateStatefulSetSpec(&old.Spec, path, opts)) > 0
	errs := validateStatefulSetSpec(&s.Spec, path, opts)
	if !equal(withStatefulSetMutables(s.Spec, old.Spec), old.Spec) {
		errs = append(errs, field.Forbidden(path, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
			"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

// withStatefulSetMutables is s with the fields that may change set back to old's.
func withStatefulSetMutables(s, old appsv1.StatefulSetSpec) appsv1.StatefulSetSpec {
	s.Replicas, s.Ordinals, s.MinReadySeconds = old.Replicas, old.Ordinals, old.MinReadySeconds
	s.Template, s.UpdateStrategy = old.Template, old.UpdateStrategy
	s.RevisionHistoryLimit, s.PersistentVolumeClaimRetentionPolicy = old.RevisionHistoryLimit, old.PersistentVolumeClaimRetentionPolicy
	return s
}

func validateStatefulSetSpec(s *appsv1.StatefulSetSpec, path *field.Path, opts statefulSetOptions) field.ErrorList {
	errs := validateTallies(path, tallyOf("replicas", s.Replicas), tally{"minReadySeconds", int64(s.MinReadySeconds)})
	if s.Ordinals != nil {
		errs = append(errs, validateTallies(path, tally{"ordinals.start", int64(s.Ordinals.Start)})...)
	}
	errs = append(errs, validatePodManagement(s.PodManagementPolicy, path.Child("podManagementPolicy"))...)
	errs = append(errs, validateStatefulSetStrategy(&s.UpdateStrategy, path.Child("updateStrategy"))...)
	errs = append(errs, validateClaimRetention(s.PersistentVolumeClaimRetentionPolicy, path.Child("persistentVolumeClaimRetentionPolicy"))...)
	if !opts.immutables {
		errs = append(errs, validateClaimTemplates(s.VolumeClaimTemplates, path.Child("volumeClaimTemplates"))...)
		if s.ServiceName != "" {
			errs = append(errs, validateDNSLabel(s.ServiceName, path.Child("serviceName"))...)
		}
	}
	errs = append(errs, validateSelection(s.Selector, "statefulset", false, path.Child("selector"))...)
	if s.Selector == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	return append(errs, validateStatefulSetTemplate(s, path, opts)...)
}

// validateStatefulSetTemplate validates the template as the pods will have it: host name and subdomain are theirs, and
// the claim templates' volumes stand in for those of the same name.
func validateStatefulSetTemplate(s *appsv1.StatefulSetSpec, path *field.Path, opts statefulSetOptions) field.ErrorList {
	at := path.Child("template")
	errs := validateTemplateEndless(&s.Template, "StatefulSet", at)
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), s.Selector, ""))
	}
	t := s.Template
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	t.Spec.Volumes = statefulSetVolumes(s)
	errs = append(errs, validateTemplateMatch(&t, selector, at)...)
	if !opts.template {
		errs = append(errs, validatePodTemplateSpec(&t, at, opts.pod)...)
	}
	// The metadata counts once more, even where the rest of the template is not looked at.
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, at.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, at.Child("annotations"))...)
	return append(errs, validatePodAnnotations(t.Annotations, &t.Spec, at.Child("annotations"), opts.pod)...)
}

// statefulSetVolumes are the volumes of the pods: a claim template replaces the template's volume of its name.
func statefulSetVolumes(s *appsv1.StatefulSetSpec) []corev1.Volume {
	claims := sets.New[string]()
	var volumes []corev1.Volume
	for _, c := range s.VolumeClaimTemplates {
		if !claims.Has(c.Name) {
			claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}
			volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}})
		}
		claims.Insert(c.Name)
	}
	for _, v := range s.Template.Spec.Volumes {
		if !claims.Has(v.Name) {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

func validatePodManagement(policy appsv1.PodManagementPolicyType, path *field.Path) field.ErrorList {
	switch policy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
		return nil
	}
	return field.ErrorList{field.Invalid(path, policy, "must be 'OrderedReady' or 'Parallel'")}
}

func validateStatefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	rolling, at := s.RollingUpdate, path.Child("rollingUpdate")
	switch s.Type {
	case appsv1.OnDeleteStatefulSetStrategyType:
		if rolling != nil {
			return field.ErrorList{field.Invalid(at, rolling, "only allowed for updateStrategy 'RollingUpdate'")}
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if rolling != nil {
			return append(validateTallies(at, tallyOf("partition", rolling.Partition)),
				validateStatefulSetUnavailable(rolling.MaxUnavailable, at.Child("maxUnavailable"))...)
		}
	default:
		return field.ErrorList{field.Invalid(path, s, "must be 'RollingUpdate' or 'OnDelete'")}
	}
	return nil
}

// validateStatefulSetUnavailable is about an amount that only objects of clusters with the field switched on have.
func validateStatefulSetUnavailable(amount *intstr.IntOrString, path *field.Path) field.ErrorList {
	if amount == nil {
		return nil
	}
	errs := validateRolloutShare(*amount, path)
	if isRolloutNone(*amount) {
		errs = append(errs, field.Invalid(path, *amount, "cannot be 0"))
	}
	return errs
}

func validateClaimRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	retain, remove := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	return append(validateChoice(p.WhenDeleted, path.Child("whenDeleted"), retain, remove),
		validateChoice(p.WhenScaled, path.Child("whenScaled"), retain, remove)...)
}

func validateClaimTemplates(templates []corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range templates {
		errs = append(errs, validateClaimSpec(&templates[i].Spec, path.Index(i).Child("spec"), claimOptions{})...)
	}
	return errs
}

func validateStatefulSetStatus(_ *Write, set, old *appsv1.StatefulSet) field.ErrorList {
	s, path := &set.Status, field.NewPath("status")
	parts := []tally{
		{"readyReplicas", int64(s.ReadyReplicas)},
		{"currentReplicas", int64(s.CurrentReplicas)},
		{"updatedReplicas", int64(s.UpdatedReplicas)},
		{"availableReplicas", int64(s.AvailableReplicas)},
	}
	errs := validateTallies(path, append(parts,
		tally{"replicas", int64(s.Replicas)},
		tally{"observedGeneration", s.ObservedGeneration},
		tallyOf("collisionCount", s.CollisionCount))...)
	errs = append(errs, validateTalliesWithin(path, s.Replicas, "cannot be greater than status.replicas", parts...)...)
	errs = append(errs, validateTalliesWithin(path, s.ReadyReplicas, "cannot be greater than status.readyReplicas", parts[3])...)
	return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount, path)...)
}
