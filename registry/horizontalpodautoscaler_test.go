package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}

func TestAutoscalersSurviveVersion1(t *testing.T) {
	named := autoscalingv2.MetricIdentifier{Name: "m", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
	rules := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(0)), SelectPolicy: new(autoscalingv2.MinChangePolicySelect),
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 9}}, Tolerance: quantity("100m")}
	want := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{Name: "h", Annotations: map[string]string{"own": "stays"}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas: 3,
			Metrics: []autoscalingv2.MetricSpec{
				{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: named,
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: quantity("5")}}},
				{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: named,
					DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Service", Name: "s", APIVersion: "v1"},
					Target:          autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: quantity("5")}}},
				{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: named,
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: quantity("7")}}},
				{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
					Name: corev1.ResourceMemory, Container: "c",
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(50))}}},
				cpuMetric(60), // the field of version 1, and therefore last
			},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: rules},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			CurrentMetrics: []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{
				Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: new(int32(44)), AverageValue: quantity("100m")}}}},
			Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "R"}},
		},
	}
	v1 := autoscalerToV1(want)
	if *v1.Spec.TargetCPUUtilizationPercentage != 60 || *v1.Status.CurrentCPUUtilizationPercentage != 44 {
		t.Errorf("version 1 aims at %d and is at %d; want 60, 44", *v1.Spec.TargetCPUUtilizationPercentage, *v1.Status.CurrentCPUUtilizationPercentage)
	}
	if d := cmp.Diff(want, autoscalerFromV1(v1)); d != "" {
		t.Errorf("there and back (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"own": "stays"}, want.Annotations); d != "" {
		t.Errorf("the original's annotations (-want +got):\n%s", d)
	}
}

func TestVersion1Annotations(t *testing.T) {
	tests := []struct {
		rule        string
		annotations map[string]string
		percent     *int32
		want        autoscalingv2.HorizontalPodAutoscalerSpec
	}{
		{"nothing said is 80 percent of the CPU", nil, nil,
			autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{cpuMetric(80)}}},
		{"an annotation that cannot be read says nothing", map[string]string{autoscalerMetrics: "x", autoscalerBehavior: "x"}, new(int32(5)),
			autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{cpuMetric(5)}}},
		{"the behavior's fields go by any case", map[string]string{autoscalerBehavior: `{"scaleup":{"selectPolicy":"Max"}}`}, new(int32(5)),
			autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{cpuMetric(5)},
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
					ScaleUp: &autoscalingv2.HPAScalingRules{SelectPolicy: new(autoscalingv2.MaxChangePolicySelect)}}}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got := autoscalerFromV1(&autoscalingv1.HorizontalPodAutoscaler{
				ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations},
				Spec:       autoscalingv1.HorizontalPodAutoscalerSpec{TargetCPUUtilizationPercentage: test.percent},
			})
			if d := cmp.Diff(test.want, got.Spec); d != "" {
				t.Errorf("spec (-want +got):\n%s", d)
			}
			if len(got.Annotations) > 0 {
				t.Errorf("annotations remain: %v", got.Annotations)
			}
		})
	}
}

func TestMetricsCells(t *testing.T) {
	memory := autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{AverageValue: quantity("1Gi")}}}
	external := autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Target: autoscalingv2.MetricTarget{AverageValue: quantity("5")}}}
	cpu := autoscalingv2.MetricStatus{Resource: &autoscalingv2.ResourceMetricStatus{
		Current: autoscalingv2.MetricValueStatus{AverageUtilization: new(int32(44))}}}
	tests := []struct {
		rule     string
		specs    []autoscalingv2.MetricSpec
		statuses []autoscalingv2.MetricStatus
		want     string
	}{
		{"no metrics", nil, nil, "<none>"},
		{"shares are percentages", []autoscalingv2.MetricSpec{cpuMetric(60)}, []autoscalingv2.MetricStatus{cpu}, "cpu: 44%/60%"},
		{"what is not measured is unknown", []autoscalingv2.MetricSpec{memory, external}, nil, "memory: <unknown>/1Gi, <unknown>/5 (avg)"},
		{"two are shown", []autoscalingv2.MetricSpec{cpuMetric(60), memory, external, external}, nil,
			"cpu: <unknown>/60%, memory: <unknown>/1Gi + 2 more..."},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if got := metricsCell(test.specs, test.statuses); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
