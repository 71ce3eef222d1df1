package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClaimChangesThatAreAllowed(t *testing.T) {
	const annotation = corev1.BetaStorageClassAnnotation
	claim := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", ResourceVersion: "1", Annotations: map[string]string{}},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
			},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		}
		defaultPersistentVolumeClaim(c)
		if change != nil {
			change(c)
		}
		return c
	}
	bound := func(size, capacity string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.Status.Phase = corev1.ClaimBound
			c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse(size)
			c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}
		}
	}
	annotated := func(c *corev1.PersistentVolumeClaim) { c.Annotations[annotation] = "fast" }
	classed := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new("fast") }
	tests := []struct {
		rule     string
		old, new func(*corev1.PersistentVolumeClaim)
		fields   []string // of the errors
	}{
		{"a volume is bound once", nil, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }, nil},
		{"a bound volume stays", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "w" }, []string{"spec"}},
		{"a pending claim does not grow", nil, func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("6Gi")
		}, []string{"spec"}},
		{"a bound claim grows", bound("5Gi", "5Gi"), bound("6Gi", "5Gi"), nil},
		{"a growth that failed is taken back, to above the volume's size", bound("9Gi", "5Gi"), bound("6Gi", "5Gi"), nil},
		{"a volume does not shrink", bound("9Gi", "5Gi"), bound("5Gi", "5Gi"), []string{"spec.resources.requests.storage"}},
		{"the class moves from the annotation to the field", annotated, classed, nil},
		{"the class is filled in beside the annotation", annotated, func(c *corev1.PersistentVolumeClaim) { annotated(c); classed(c) }, nil},
		{"the class is filled in where there was none", nil, classed, nil},
		{"another class than the annotation's", annotated, func(c *corev1.PersistentVolumeClaim) { annotated(c); c.Spec.StorageClassName = new("slow") }, []string{"spec"}},
		{"a class is not taken away", classed, nil, []string{"spec"}},
		{"a class of attributes that is in use does not go", func(c *corev1.PersistentVolumeClaim) {
			bound("5Gi", "5Gi")(c)
			c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName = new("gold"), new("gold")
		}, func(c *corev1.PersistentVolumeClaim) {
			bound("5Gi", "5Gi")(c)
		}, []string{"spec.volumeAttributesClassName"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old, changed := claim(test.old), claim(test.new)
			preparePersistentVolumeClaim(&Write{}, changed, old)
			expectFields(t, validatePersistentVolumeClaim(&Write{}, changed, old), test.fields...)
		})
	}
}

func TestDataSourceHasTwoNames(t *testing.T) {
	local := func(group, kind string) *corev1.TypedLocalObjectReference {
		return &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: kind, Name: "s"}
	}
	ref := func(group, kind string) *corev1.TypedObjectReference {
		return &corev1.TypedObjectReference{APIGroup: &group, Kind: kind, Name: "s"}
	}
	tests := []struct {
		rule   string
		source *corev1.TypedLocalObjectReference
		ref    *corev1.TypedObjectReference
		kind   string // of both in the end; empty for none
	}{
		{"the old name is copied", local("snapshot.storage.k8s.io", "VolumeSnapshot"), nil, "VolumeSnapshot"},
		{"the new name is copied", nil, ref("example.com", "Populator"), "Populator"},
		{"the old name ignores all but claims and snapshots", local("example.com", "Populator"), nil, ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{DataSource: test.source, DataSourceRef: test.ref}}
			preparePersistentVolumeClaim(&Write{}, c, nil)
			switch {
			case test.kind == "":
				if c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil {
					t.Errorf("a source is left: %v, %v", c.Spec.DataSource, c.Spec.DataSourceRef)
				}
			case c.Spec.DataSource == nil || c.Spec.DataSource.Kind != test.kind, c.Spec.DataSourceRef == nil || c.Spec.DataSourceRef.Kind != test.kind:
				t.Errorf("sources are %v and %v, want %s", c.Spec.DataSource, c.Spec.DataSourceRef, test.kind)
			}
		})
	}
}
