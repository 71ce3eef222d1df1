package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// persistentVolume is a piece of storage that a claim can be bound to.
func persistentVolume() *Resource {
	spec := func(name string) string { return doc(corev1.PersistentVolumeSpec{}, name) }
	status := func(name string) string { return doc(corev1.PersistentVolumeStatus{}, name) }
	return Kind[*corev1.PersistentVolume]{
		Resource: Resource{
			Plural: "persistentvolumes", Singular: "persistentvolume", Kind: "PersistentVolume", ShortNames: []string{"pv"},
			Prefix: "persistentvolumes", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, Reset: []string{"status"},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRulesTwice,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Capacity", spec("capacity")),
				textColumn("Access Modes", spec("accessModes")),
				textColumn("Reclaim Policy", spec("persistentVolumeReclaimPolicy")),
				textColumn("Status", status("phase")),
				textColumn("Claim", spec("claimRef")),
				textColumn("StorageClass", "StorageClass of the pv"),
				textColumn("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
				textColumn("Reason", status("reason")),
				ageColumn(),
				wideColumn("VolumeMode", spec("volumeMode")),
			},
		},
		Default:  defaultPersistentVolume,
		Prepare:  preparePersistentVolume,
		Validate: validatePersistentVolume,
		Warn:     warnPersistentVolume,
		Status: &Door[*corev1.PersistentVolume]{
			Reset:    []string{"spec"},
			Prepare:  preparePersistentVolumeStatus,
			Validate: validatePersistentVolumeStatus,
		},
		Cells: persistentVolumeCells,
	}.row()
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	fill(&v.Status.Phase, corev1.VolumePending)
	fill(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	fillPointer(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	defaultPersistentVolumeSource(&v.Spec)
}

// defaultPersistentVolumeSource fills what an inline volume of an attachment has as well.
func defaultPersistentVolumeSource(s *corev1.PersistentVolumeSpec) {
	defaultResourceList(s.Capacity)
	if s := s.HostPath; s != nil {
		fillPointer(&s.Type, corev1.HostPathUnset)
	}
	if s := s.RBD; s != nil {
		fill(&s.RBDPool, "rbd")
		fill(&s.RadosUser, "admin")
		fill(&s.Keyring, "/etc/ceph/keyring")
	}
	if s := s.ISCSI; s != nil {
		fill(&s.ISCSIInterface, "default")
	}
	if s := s.AzureDisk; s != nil {
		defaultAzureDisk(s)
	}
	if s := s.ScaleIO; s != nil {
		fill(&s.StorageMode, "ThinProvisioned")
		fill(&s.FSType, "xfs")
	}
}

func preparePersistentVolume(w *Write, v, old *corev1.PersistentVolume) {
	if old != nil {
		v.Status = old.Status
		return
	}
	v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: transitionAt(w.Now)}
}

func transitionAt(now time.Time) *metav1.Time { return new(metav1.NewTime(now)) }

// preparePersistentVolumeStatus notes when the phase changed, unless the writer says it.
func preparePersistentVolumeStatus(w *Write, v, old *corev1.PersistentVolume) {
	v.Spec = old.Spec
	said, before := v.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch {
	case v.Status.Phase == old.Status.Phase:
		if said == nil {
			v.Status.LastPhaseTransitionTime = before
		}
	case said == nil || said.Equal(before):
		v.Status.LastPhaseTransitionTime = transitionAt(w.Now)
	}
}

// warnPersistentVolume warns of what is deprecated: annotations, the Recycle policy, node labels, and sources whose
// drivers are gone.
func warnPersistentVolume(_ *Write, v, _ *corev1.PersistentVolume) []string {
	var warnings []string
	for _, annotation := range []struct{ key, why string }{
		{corev1.BetaStorageClassAnnotation, `deprecated since v1.8; use "storageClassName" attribute instead`},
		{corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, set := v.Annotations[annotation.key]; set {
			warnings = append(warnings, fmt.Sprintf("%s: %s", field.NewPath("metadata", "annotations").Key(annotation.key), annotation.why))
		}
	}
	spec := &v.Spec
	if spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		warnings = append(warnings, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := spec.NodeAffinity; a != nil && a.Required != nil {
		path := field.NewPath("spec", "nodeAffinity", "required", "nodeSelectorTerms")
		for i, term := range a.Required.NodeSelectorTerms {
			warnings = append(warnings, warnNodeSelectorTerm(term, false, path.Index(i))...)
		}
	}
	for _, source := range []struct {
		name              string
		set               bool
		deprecated, ended string
	}{
		{"cephfs", spec.CephFS != nil, "v1.28", "v1.31+"},
		{"photonPersistentDisk", spec.PhotonPersistentDisk != nil, "v1.11", "v1.16+"},
		{"scaleIO", spec.ScaleIO != nil, "v1.16", "v1.22+"},
		{"storageOS", spec.StorageOS != nil, "v1.22", "v1.25+"},
		{"glusterfs", spec.Glusterfs != nil, "v1.25", "v1.26+"},
		{"rbd", spec.RBD != nil, "v1.28", "v1.31+"},
	} {
		if source.set {
			warnings = append(warnings, fmt.Sprintf("spec.%s: deprecated in %s, non-functional in %s", source.name, source.deprecated, source.ended))
		}
	}
	return warnings
}

func persistentVolumeCells(v *corev1.PersistentVolume) []any {
	size, claim, phase := v.Spec.Capacity[corev1.ResourceStorage], "", string(v.Status.Phase)
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class, annotated := v.Annotations[corev1.BetaStorageClassAnnotation]
	if !annotated {
		class = v.Spec.StorageClassName
	}
	return []any{v.Name, size.String(), accessModesText(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy),
		phase, claim, class, orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason, Age{At: v.CreationTimestamp},
		orUnset(v.Spec.VolumeMode)}
}

// orUnset is an optional text for people.
func orUnset[T ~string](p *T) string {
	if p == nil {
		return "<unset>"
	}
	return string(*p)
}

// accessModesText abbreviates: "RWO,ROX".
func accessModesText(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.text)
		}
	}
	return strings.Join(short, ",")
}
