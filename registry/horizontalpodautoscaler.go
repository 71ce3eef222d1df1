package registry

import (
	"fmt"
	"maps"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// horizontalPodAutoscaler scales a workload by metrics. Version 1 knows the CPU only; what else version 2 has travels
// in annotations of version 1 (see horizontalpodautoscaler_v1.go).
func horizontalPodAutoscaler() *Resource {
	return Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Resource: Resource{
			Group: "autoscaling", Plural: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
			Kind: "HorizontalPodAutoscaler", ShortNames: []string{"hpa"}, Categories: []string{"all"},
			Namespaced: true, Prefix: "horizontalpodautoscalers",
			Versions: []Version{{Name: "v2"}, {
				Name:    "v1",
				New:     func() Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
				ToHub:   func(o Object) Object { return autoscalerFromV1(o.(*autoscalingv1.HorizontalPodAutoscaler)) },
				FromHub: func(o Object) Object { return autoscalerToV1(o.(*autoscalingv2.HorizontalPodAutoscaler)) },
				Default: func(o Object) { fillPointer(&o.(*autoscalingv1.HorizontalPodAutoscaler).Spec.MinReplicas, 1) },
			}},
			ValidateName: apivalidation.NameIsDNSSubdomain, Reset: []string{"status"},
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Reference", doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "scaleTargetRef")),
				textColumn("Targets", doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "metrics")),
				textColumn("MinPods", doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "minReplicas")),
				textColumn("MaxPods", doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "maxReplicas")),
				textColumn("Replicas", doc(autoscalingv2.HorizontalPodAutoscalerStatus{}, "currentReplicas")),
				ageColumn(),
			},
		},
		Default: defaultAutoscaler,
		Normalize: func(a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Annotations = withoutAutoscalerAnnotations(a.Annotations)
		},
		Prepare: func(_ *Write, a, old *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
			if old != nil {
				a.Status = old.Status
			}
		},
		Validate: validateAutoscaler,
		// An object that came as version 1 has not met version 2's defaults yet.
		Canonicalize: defaultAutoscaler,
		Cells:        autoscalerCells,
		Status: &Door[*autoscalingv2.HorizontalPodAutoscaler]{
			Reset:   []string{"spec"},
			Prepare: func(_ *Write, a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Spec = old.Spec },
			Validate: func(_ *Write, a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
				return validateTallies(field.NewPath("status"),
					tally{"currentReplicas", int64(a.Status.CurrentReplicas)}, tally{"desiredReplicas", int64(a.Status.DesiredReplicas)})
			},
		},
	}.row()
}

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	fillPointer(&a.Spec.MinReplicas, 1)
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{defaultCPUMetric()}
	}
	if b := a.Spec.Behavior; b != nil {
		defaultScalingRules(&b.ScaleUp,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
		fillPointer(&b.ScaleUp.StabilizationWindowSeconds, 0)
		// How long to wait before scaling down is the controller's to say.
		defaultScalingRules(&b.ScaleDown,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	}
}

func defaultScalingRules(rules **autoscalingv2.HPAScalingRules, policies ...autoscalingv2.HPAScalingPolicy) {
	fillPointer(rules, autoscalingv2.HPAScalingRules{})
	fillPointer(&(*rules).SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if (*rules).Policies == nil {
		(*rules).Policies = policies
	}
}

// defaultCPUMetric is the metric of an autoscaler that names none.
func defaultCPUMetric() autoscalingv2.MetricSpec { return cpuMetric(80) }

// cpuMetric aims at an average use of so many percent of the CPU that the pods request.
func cpuMetric(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
		},
	}
}

// The annotations that carry what version 1 has no fields for.
const (
	autoscalerMetrics        = "autoscaling.alpha.kubernetes.io/metrics"
	autoscalerCurrentMetrics = "autoscaling.alpha.kubernetes.io/current-metrics"
	autoscalerConditions     = "autoscaling.alpha.kubernetes.io/conditions"
	autoscalerBehavior       = "autoscaling.alpha.kubernetes.io/behavior"
	autoscalerToleranceDown  = "autoscaling.alpha.kubernetes.io/scale-down-tolerance"
	autoscalerToleranceUp    = "autoscaling.alpha.kubernetes.io/scale-up-tolerance"
)

// withoutAutoscalerAnnotations leaves the argument as it is.
func withoutAutoscalerAnnotations(annotations map[string]string) map[string]string {
	rest := maps.Clone(annotations)
	for _, key := range []string{autoscalerMetrics, autoscalerCurrentMetrics, autoscalerConditions, autoscalerBehavior,
		autoscalerToleranceDown, autoscalerToleranceUp} {
		delete(rest, key)
	}
	return rest
}

func autoscalerCells(a *autoscalingv2.HorizontalPodAutoscaler) []any {
	least := "<unset>"
	if a.Spec.MinReplicas != nil {
		least = fmt.Sprint(*a.Spec.MinReplicas)
	}
	target := a.Spec.ScaleTargetRef
	return []any{a.Name, target.Kind + "/" + target.Name, metricsCell(a.Spec.Metrics, a.Status.CurrentMetrics), least,
		int64(a.Spec.MaxReplicas), int64(a.Status.CurrentReplicas), Age{At: a.CreationTimestamp}}
}

// metricsCell shows the first two metrics as current/target, and how many more there are.
func metricsCell(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	const most = 2
	var texts []string
	for i, spec := range specs[:min(most, len(specs))] {
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		texts = append(texts, metricText(spec, status))
	}
	text := strings.Join(texts, ", ")
	if more := len(specs) - most; more > 0 {
		text += fmt.Sprintf(" + %d more...", more)
	}
	return text
}

// metricText shows one metric. A status that is not of the metric's type does not count.
func metricText(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	current := metricCurrent(spec.Type, status)
	switch {
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		return valueText(spec.External.Target, current)
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		return valueText(spec.Object.Target, current)
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		return amountText(current, spec.Pods.Target.AverageValue)
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		return string(spec.Resource.Name) + ": " + usageText(spec.Resource.Target, current)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		return string(spec.ContainerResource.Name) + ": " + usageText(spec.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

// metricCurrent is what was measured last of a metric of that type; nil if there is nothing.
func metricCurrent(of autoscalingv2.MetricSourceType, s autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	switch {
	case of == autoscalingv2.ExternalMetricSourceType && s.External != nil:
		return &s.External.Current
	case of == autoscalingv2.ObjectMetricSourceType && s.Object != nil:
		return &s.Object.Current
	case of == autoscalingv2.PodsMetricSourceType && s.Pods != nil:
		return &s.Pods.Current
	case of == autoscalingv2.ResourceMetricSourceType && s.Resource != nil:
		return &s.Resource.Current
	case of == autoscalingv2.ContainerResourceMetricSourceType && s.ContainerResource != nil:
		return &s.ContainerResource.Current
	}
	return nil
}

// valueText shows a metric that counts as a whole or by the average pod.
func valueText(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue == nil {
		text := "<unknown>"
		if current != nil {
			text = current.Value.String()
		}
		return text + "/" + target.Value.String()
	}
	if current != nil && current.AverageValue == nil {
		current = nil
	}
	return amountText(current, target.AverageValue) + " (avg)"
}

// amountText shows an average beside its target.
func amountText(current *autoscalingv2.MetricValueStatus, target *resource.Quantity) string {
	if current == nil {
		return "<unknown>/" + target.String()
	}
	return current.AverageValue.String() + "/" + target.String()
}

// usageText shows the use of a resource: an amount, or a share of what is requested.
func usageText(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return amountText(current, target.AverageValue)
	}
	now, goal := "<unknown>", "<auto>"
	if current != nil && current.AverageUtilization != nil {
		now = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if target.AverageUtilization != nil {
		goal = fmt.Sprintf("%d%%", *target.AverageUtilization)
	}
	return now + "/" + goal
}
