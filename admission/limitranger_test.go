package admission

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestLimitsOfANamespace(t *testing.T) {
	limits := func(items ...corev1.LimitRangeItem) *corev1.LimitRange {
		return &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: items}}
	}
	container := corev1.LimitRangeItem{Type: "Container", Default: amounts("cpu=500m memory=1Gi"), DefaultRequest: amounts("cpu=100m"),
		Min: amounts("cpu=50m"), Max: amounts("cpu=2"), MaxLimitRequestRatio: amounts("cpu=10")}
	sidecar := func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
			Resources: corev1.ResourceRequirements{Requests: amounts("cpu=1"), Limits: amounts("cpu=1")}}}
	}
	claim := func(size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=" + size)}}}
	}
	storage := limits(corev1.LimitRangeItem{Type: "PersistentVolumeClaim", Min: amounts("storage=1Gi"), Max: amounts("storage=2Gi")})
	old := podWith("", "")
	old.DeletionTimestamp = &metav1.Time{}
	for _, c := range []struct {
		rule  string
		limit *corev1.LimitRange
		a     *Attributes
		err   string // after "is forbidden: "
		note  string
	}{
		{"what is not said is filled in and noted", limits(container), writeOf("pods", "", podWith("", ""), nil), "",
			"LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"},
		{"what is said stays", limits(container), writeOf("pods", "", podWith("cpu=60m", "cpu=70m memory=1"), nil), "", ""},
		{"less than the least", limits(container), writeOf("pods", "", podWith("cpu=10m", "cpu=20m memory=1"), nil), "minimum cpu usage per Container is 50m, but request is 10m", ""},
		{"more than the most, and a ratio", limits(container), writeOf("pods", "", podWith("cpu=100m", "cpu=3 memory=1"), nil),
			"[maximum cpu usage per Container is 2, but limit is 3, cpu max limit to request ratio per Container is 10, but provided ratio is 30.000000]", ""},
		{"no limit where there has to be one", limits(corev1.LimitRangeItem{Type: "Container", Max: amounts("memory=1Gi")}), writeOf("pods", "", podWith("", ""), nil), "maximum memory usage per Container is 1Gi.  No limit is specified", ""},
		{"a pod as a whole, its sidecars included", limits(corev1.LimitRangeItem{Type: "Pod", Max: amounts("cpu=1500m")}), writeOf("pods", "", podWith("", "cpu=1", sidecar), nil), "maximum cpu usage per Pod is 1500m, but limit is 2", ""},
		{"a pod that speaks for itself", limits(corev1.LimitRangeItem{Type: "Pod", Max: amounts("cpu=1500m")}), writeOf("pods", "", podWith("", "cpu=4", func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: amounts("cpu=1"), Limits: amounts("cpu=1")}
		}), nil), "", ""},
		{"an update does not change resources", limits(container), writeOf("pods", "", podWith("cpu=10m", ""), podWith("cpu=10m", "")), "", ""},
		{"a resize does", limits(container), writeOf("pods", "resize", podWith("cpu=10m", "cpu=20m memory=1"), podWith("cpu=60m", "")), "minimum cpu usage per Container is 50m, but request is 10m", ""},
		{"a pod on its way out", limits(container), writeOf("pods", "resize", podWith("cpu=10m", ""), old), "", ""},
		{"a small claim", storage, writeOf("persistentvolumeclaims", "", claim("1Mi"), nil), "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi", ""},
		{"a claim that grows too large", storage, writeOf("persistentvolumeclaims", "", claim("3Gi"), claim("1Gi")), "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi", ""},
		{"no limits of another namespace", &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{container}}},
			writeOf("pods", "", podWith("", ""), nil), "", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := limitRanger(newPantry(c.limit))
			err := p.Mutate(t.Context(), c.a)
			if err == nil {
				err = p.Validate(t.Context(), c.a)
			}
			want := fmt.Sprintf("%s \"x\" is forbidden: %s", c.a.Resource.Resource, c.err)
			if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if got := c.a.Object.GetAnnotations()[limitAnnotation]; got != c.note {
				t.Errorf("noted %q, want %q", got, c.note)
			}
		})
	}
}
