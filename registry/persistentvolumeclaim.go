package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// persistentVolumeClaim asks for storage. Once it is bound, only its size and its class of attributes may change.
func persistentVolumeClaim() *Resource {
	spec := func(name string) string { return doc(corev1.PersistentVolumeClaimSpec{}, name) }
	status := func(name string) string { return doc(corev1.PersistentVolumeClaimStatus{}, name) }
	return Kind[*corev1.PersistentVolumeClaim]{
		Resource: Resource{
			Plural: "persistentvolumeclaims", Singular: "persistentvolumeclaim", Kind: "PersistentVolumeClaim",
			ShortNames: []string{"pvc"}, Namespaced: true, Prefix: "persistentvolumeclaims", Versions: []Version{{Name: "v1"}},
			DeleteReturnsObject: true, Reset: []string{"status"},
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules, Bare: withoutClaimStatus,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Status", status("phase")),
				textColumn("Volume", spec("volumeName")),
				textColumn("Capacity", status("capacity")),
				textColumn("Access Modes", status("accessModes")),
				textColumn("StorageClass", "StorageClass of the pvc"),
				textColumn("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
				ageColumn(),
				wideColumn("VolumeMode", spec("volumeMode")),
			},
		},
		Default:  defaultPersistentVolumeClaim,
		Repair:   func(_ *Registry, c *corev1.PersistentVolumeClaim) { mirrorDataSource(&c.Spec) },
		Prepare:  preparePersistentVolumeClaim,
		Validate: validatePersistentVolumeClaim,
		Warn:     warnPersistentVolumeClaim,
		Status: &Door[*corev1.PersistentVolumeClaim]{
			Reset:    []string{"spec"},
			Prepare:  func(_ *Write, c, old *corev1.PersistentVolumeClaim) { c.Spec = old.Spec },
			Validate: validatePersistentVolumeClaimStatus,
		},
		Cells: persistentVolumeClaimCells,
	}.row()
}

func defaultPersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	fill(&c.Status.Phase, corev1.ClaimPending)
	defaultClaimSpec(&c.Spec)
	defaultResourceList(c.Status.Capacity)
	defaultResourceList(c.Status.AllocatedResources)
}

// withoutClaimStatus is a new claim as it is stored. That it is pending, every read fills in.
func withoutClaimStatus(o Object) Object {
	c := *o.(*corev1.PersistentVolumeClaim)
	c.Status = corev1.PersistentVolumeClaimStatus{}
	return &c
}

// preparePersistentVolumeClaim brings the two names of the data source in line. dataSource has always ignored what is
// neither a claim nor a snapshot; only dataSourceRef takes other kinds (KEP 1495).
func preparePersistentVolumeClaim(_ *Write, c, old *corev1.PersistentVolumeClaim) {
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	if old != nil {
		c.Status = old.Status
	}
	spec := &c.Spec
	if ref := spec.DataSourceRef; ref != nil && ref.Namespace != nil && *ref.Namespace != "" && (old == nil || old.Spec.DataSourceRef == nil) {
		// Sources in other namespaces are not switched on in 1.36.
		spec.DataSourceRef = nil
	}
	inUse := old != nil && (old.Spec.DataSource != nil || old.Spec.DataSourceRef != nil)
	if !inUse && spec.DataSourceRef == nil && !isClaimOrSnapshot(spec.DataSource) {
		spec.DataSource = nil
	}
	mirrorDataSource(spec)
}

func isClaimOrSnapshot(s *corev1.TypedLocalObjectReference) bool {
	if s == nil {
		return false
	}
	group := ""
	if s.APIGroup != nil {
		group = *s.APIGroup
	}
	return s.Kind == "PersistentVolumeClaim" && group == "" || s.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
}

// mirrorDataSource fills the name of the data source that is not set from the one that is.
func mirrorDataSource(s *corev1.PersistentVolumeClaimSpec) {
	source, ref := s.DataSource, s.DataSourceRef
	switch {
	case source != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: copyOf(source.APIGroup), Kind: source.Kind, Name: source.Name}
	case ref != nil && source == nil && (ref.Namespace == nil || *ref.Namespace == ""):
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: copyOf(ref.APIGroup), Kind: ref.Kind, Name: ref.Name}
	}
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

func warnPersistentVolumeClaim(_ *Write, c, _ *corev1.PersistentVolumeClaim) []string {
	var warnings []string
	if _, set := c.Annotations[corev1.BetaStorageClassAnnotation]; set {
		warnings = append(warnings, fmt.Sprintf(`%s: deprecated since v1.8; use "storageClassName" attribute instead`,
			field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation)))
	}
	return append(warnings, claimSpecWarnings(field.NewPath("spec"), &c.Spec)...)
}

func persistentVolumeClaimCells(c *corev1.PersistentVolumeClaim) []any {
	phase, capacity, modes := string(c.Status.Phase), "", ""
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if c.Spec.VolumeName != "" {
		size := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = size.String(), accessModesText(c.Status.AccessModes)
	}
	class, annotated := c.Annotations[corev1.BetaStorageClassAnnotation]
	if !annotated && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	return []any{c.Name, phase, c.Spec.VolumeName, capacity, modes, class, orUnset(c.Spec.VolumeAttributesClassName),
		Age{At: c.CreationTimestamp}, orUnset(c.Spec.VolumeMode)}
}
