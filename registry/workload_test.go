package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestGenerationsCountWhatControllersFollow(t *testing.T) {
	tests := []struct {
		rule                    string
		change                  func(*appsv1.Deployment, *appsv1.DaemonSet)
		deployment, set, ofPods int64
	}{
		{"a label is nobody's concern", func(d *appsv1.Deployment, s *appsv1.DaemonSet) {
			d.Labels, s.Labels = map[string]string{"a": "b"}, map[string]string{"a": "b"}
		}, 1, 1, 1},
		{"annotations are copied to ReplicaSets", func(d *appsv1.Deployment, s *appsv1.DaemonSet) {
			d.Annotations, s.Annotations = map[string]string{"a": "b"}, map[string]string{"a": "b"}
		}, 2, 1, 1},
		{"the spec is what is wanted", func(d *appsv1.Deployment, s *appsv1.DaemonSet) {
			d.Spec.MinReadySeconds, s.Spec.MinReadySeconds = 5, 5
		}, 2, 2, 1},
		{"a DaemonSet's templates are counted by themselves", func(d *appsv1.Deployment, s *appsv1.DaemonSet) {
			s.Spec.Template.Labels = map[string]string{"a": "b"}
		}, 1, 2, 2},
		{"and by nobody else", func(_ *appsv1.Deployment, s *appsv1.DaemonSet) { setDaemonSetGeneration(s, 99) }, 1, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			oldDeployment, oldSet := &appsv1.Deployment{}, &appsv1.DaemonSet{}
			prepareDeployment(nil, oldDeployment, nil)
			prepareDaemonSet(nil, oldSet, nil)
			d, s := oldDeployment.DeepCopy(), oldSet.DeepCopy()
			test.change(d, s)
			prepareDeployment(nil, d, oldDeployment)
			prepareDaemonSet(nil, s, oldSet)
			if d.Generation != test.deployment || s.Generation != test.set || daemonSetGeneration(s) != test.ofPods {
				t.Errorf("Deployment %d, DaemonSet %d, template %d; want %d, %d, %d",
					d.Generation, s.Generation, daemonSetGeneration(s), test.deployment, test.set, test.ofPods)
			}
		})
	}
}

func TestRollingUpdatesGoOn(t *testing.T) {
	tests := []struct {
		rule                  string
		unavailable, surge    string
		deployment, daemonSet []string
	}{
		{"a Deployment may do both", "1", "1", nil, []string{"maxSurge"}},
		{"none of either is no update", "0", "0%", []string{"maxUnavailable"}, []string{"maxUnavailable"}},
		{"all pods at once is the most", "101%", "0", []string{"maxUnavailable"}, []string{"maxUnavailable"}},
		{"a Deployment's surge has no bound", "0", "300%", nil, []string{"maxSurge"}},
		{"an amount is a number or a percentage", "x", "5", []string{"maxUnavailable"}, []string{"maxUnavailable"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			unavailable, surge := intstr.Parse(test.unavailable), intstr.Parse(test.surge)
			expectFields(t, validateDeploymentRolling(unavailable, surge, nil), test.deployment...)
			expectFields(t, validateDaemonSetRolling(unavailable, surge, nil), test.daemonSet...)
		})
	}
}

func newStatefulSet() *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	s.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	s.Spec.Template.Labels = map[string]string{"a": "b"}
	s.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "busybox"}}
	defaultStatefulSet(s)
	return s
}

func TestStatefulSetsKeepWhatTheirPodsAreMadeOf(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*appsv1.StatefulSetSpec)
		want   []string
	}{
		{"replicas and their numbers may change", func(s *appsv1.StatefulSetSpec) {
			s.Replicas, s.Ordinals = new(int32(9)), &appsv1.StatefulSetOrdinals{Start: 3}
		}, nil},
		{"the service may not", func(s *appsv1.StatefulSetSpec) { s.ServiceName = "other" }, []string{"spec"}},
		{"nor may the selector", func(s *appsv1.StatefulSetSpec) {
			s.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpExists}}}
		}, []string{"spec"}},
		{"what may not change is not looked at", func(s *appsv1.StatefulSetSpec) {
			s.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "d"}}}
		}, []string{"spec"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old := newStatefulSet()
			s := old.DeepCopy()
			test.change(&s.Spec)
			expectFields(t, validateStatefulSet(nil, s, old), test.want...)
		})
	}
}

func TestInvalidTemplatesOfOldStatefulSetsStay(t *testing.T) {
	old := newStatefulSet()
	old.Spec.Template.Spec.Containers[0].Image = ""
	s := old.DeepCopy()
	s.Spec.Replicas = new(int32(0))
	expectFields(t, validateStatefulSet(nil, s, old))
	expectFields(t, validateStatefulSet(nil, s, nil), "spec.template.spec.containers[0].image")
}

func TestClaimTemplatesReplaceVolumes(t *testing.T) {
	s := newStatefulSet()
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	s.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "cache"}}
	claim := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}
	want := []corev1.Volume{{Name: "data", VolumeSource: claim}, {Name: "cache"}}
	if d := cmp.Diff(want, statefulSetVolumes(&s.Spec)); d != "" {
		t.Errorf("volumes (-want +got):\n%s", d)
	}
}

func TestCollisionsAreNotForgotten(t *testing.T) {
	tests := []struct {
		rule     string
		now, old *int32
		ok       bool
	}{
		{"the first", new(int32(1)), nil, true},
		{"the next", new(int32(2)), new(int32(1)), true},
		{"none since", new(int32(2)), new(int32(2)), true},
		{"fewer", new(int32(1)), new(int32(2)), false},
		{"no count at all", nil, new(int32(0)), false},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if errs := validateCollisions(test.now, test.old, field.NewPath("status")); (len(errs) == 0) != test.ok {
				t.Error(errs)
			}
		})
	}
}
