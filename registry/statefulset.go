package registry

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// statefulSet keeps pods with names and volumes of their own.
func statefulSet() *Resource {
	return Kind[*appsv1.StatefulSet]{
		Resource: Resource{
			Group: "apps", Plural: "statefulsets", Singular: "statefulset", Kind: "StatefulSet", ShortNames: []string{"sts"},
			Categories: []string{"all"}, Namespaced: true, Prefix: "statefulsets", Versions: []Version{{Name: "v1"}},
			// The name begins the pods' host names.
			ValidateName: apivalidation.NameIsDNSLabel, Reset: []string{"status"},
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Ready", "Number of the pod with ready state"),
				ageColumn(),
			}, containersColumns()...),
		},
		Default:   defaultStatefulSet,
		Normalize: normalizeStatefulSet,
		Restore:   nameClaimTemplates,
		Prepare:   prepareStatefulSet,
		Validate:  validateStatefulSet,
		Warn:      warnStatefulSet,
		Cells: func(s *appsv1.StatefulSet) []any {
			ready := fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, *s.Spec.Replicas)
			return append([]any{s.Name, ready, Age{At: s.CreationTimestamp}}, containerCells(&s.Spec.Template)...)
		},
		Status: &Door[*appsv1.StatefulSet]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, s, old *appsv1.StatefulSet) { s.Spec = old.Spec },
			Validate: validateStatefulSetStatus,
		},
		Scale: &Scaling[*appsv1.StatefulSet]{
			Get: func(s *appsv1.StatefulSet) *autoscalingv1.Scale {
				return newScale(s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector)
			},
			Set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
		},
	}.row()
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	fill(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	strategy := &s.Spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		fillPointer(&strategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && strategy.RollingUpdate != nil {
		fillPointer(&strategy.RollingUpdate.Partition, 0)
	}
	fillPointer(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	fill(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fillPointer(&s.Spec.Replicas, 1)
	fillPointer(&s.Spec.RevisionHistoryLimit, 10)
	defaultPodTemplate(&s.Spec.Template)
	for i := range s.Spec.VolumeClaimTemplates {
		claim := &s.Spec.VolumeClaimTemplates[i]
		defaultClaimSpec(&claim.Spec)
		fill(&claim.Status.Phase, corev1.ClaimPending)
		defaultResourceList(claim.Status.Capacity)
		defaultResourceList(claim.Status.AllocatedResources)
	}
}

// normalizeStatefulSet leaves no replicas absent: where none were asked for, as in a bookmark, there are none.
func normalizeStatefulSet(s *appsv1.StatefulSet) {
	normalizePodTemplate(&s.Spec.Template)
	nameClaimTemplates(s)
	fillPointer(&s.Spec.Replicas, 0)
}

// nameClaimTemplates has every claim template say its kind, which clients of long ago relied on.
func nameClaimTemplates(s *appsv1.StatefulSet) {
	for i := range s.Spec.VolumeClaimTemplates {
		s.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	}
}

func prepareStatefulSet(_ *Write, s, old *appsv1.StatefulSet) {
	if old == nil {
		s.Status = appsv1.StatefulSetStatus{}
		s.Generation = 1
		dropStatefulSetFields(s, nil)
		dropPodTemplateFields(&s.Spec.Template, nil)
		return
	}
	s.Status = old.Status
	dropStatefulSetFields(s, old)
	dropPodTemplateFields(&s.Spec.Template, &old.Spec.Template)
	bumpGeneration(s, old, !equal(s.Spec, old.Spec))
}

// dropStatefulSetFields drops the number of pods that a rolling update may take down at once: it is one.
func dropStatefulSetFields(s, old *appsv1.StatefulSet) {
	if old != nil && old.Spec.UpdateStrategy.RollingUpdate != nil && old.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil {
		return
	}
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		rolling.MaxUnavailable = nil
	}
}

// warnStatefulSet names the claim templates' paths as kube-apiserver does, with a Spec too many on update.
func warnStatefulSet(_ *Write, s, old *appsv1.StatefulSet) []string {
	path := field.NewPath("spec")
	var warnings []string
	if old == nil || s.Generation != old.Generation {
		warnings = podTemplateWarnings(path.Child("template"), &s.Spec.Template)
	}
	for i := range s.Spec.VolumeClaimTemplates {
		at := path.Child("volumeClaimTemplates").Index(i)
		if old != nil {
			at = at.Child("Spec")
		}
		warnings = append(warnings, claimSpecWarnings(at, &s.Spec.VolumeClaimTemplates[i].Spec)...)
	}
	return append(warnings, warnHistory(s.Spec.RevisionHistoryLimit)...)
}
