package registry

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// targetOptions is what the reference to another object may leave open.
type targetOptions struct {
	anyVersion bool // the API version may be malformed: an older object's is
	coreGroup  bool // the API version may name no group
}

func validateAutoscaler(_ *Write, a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	s, path := &a.Spec, field.NewPath("spec")
	least, target, metric := autoscalerOptions(a, old)
	var errs field.ErrorList
	if s.MinReplicas != nil && *s.MinReplicas < least {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), *s.MinReplicas, fmt.Sprintf("must be greater than or equal to %d", least)))
	}
	switch {
	case s.MaxReplicas == 0:
		errs = append(errs, field.Required(path.Child("maxReplicas"), "must be set and greater than 0"))
	case s.MaxReplicas < 0:
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateTarget(s.ScaleTargetRef, path.Child("scaleTargetRef"), target)...)
	errs = append(errs, validateMetrics(s.Metrics, s.MinReplicas, path.Child("metrics"), metric)...)
	if s.Behavior != nil {
		errs = append(errs, validateScalingRules(s.Behavior.ScaleUp, path.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateScalingRules(s.Behavior.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	return errs
}

// autoscalerOptions are the lowest minReplicas, and the rules for the scaled object and those that metrics describe.
// Scaling to zero is not on by default; an object that has it keeps it.
func autoscalerOptions(a, old *autoscalingv2.HorizontalPodAutoscaler) (least int32, target, metric targetOptions) {
	metric.coreGroup = true
	target.coreGroup = a.Spec.ScaleTargetRef.Kind == "ReplicationController"
	if old == nil {
		return 1, target, metric
	}
	least = 1
	if old.Spec.MinReplicas != nil && *old.Spec.MinReplicas == 0 {
		least = 0
	}
	was, is := old.Spec.ScaleTargetRef, a.Spec.ScaleTargetRef
	target.anyVersion = was.APIVersion == is.APIVersion && was.Kind == is.Kind
	for _, m := range old.Spec.Metrics {
		if m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil {
			metric.anyVersion = metric.anyVersion || checkTargetVersion(m.Object.DescribedObject.APIVersion, metric) != nil
		}
	}
	return least, target, metric
}

func validateTarget(ref autoscalingv2.CrossVersionObjectReference, path *field.Path, opts targetOptions) field.ErrorList {
	errs := validatePathPart(ref.Kind, "", path.Child("kind"))
	errs = append(errs, validatePathPart(ref.Name, "", path.Child("name"))...)
	if err := checkTargetVersion(ref.APIVersion, opts); err != nil {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), ref.APIVersion, err.Error()))
	}
	return errs
}

func checkTargetVersion(version string, opts targetOptions) error {
	if opts.anyVersion {
		return nil
	}
	gv, err := schema.ParseGroupVersion(version)
	if err == nil && gv.Group == "" && !opts.coreGroup {
		return fmt.Errorf("apiVersion must specify API group")
	}
	return err
}

// validatePathPart wants a name that may stand in a URL; missing is the complaint about an empty one.
func validatePathPart(name, missing string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, missing)}
	}
	return invalidValue(path, name, content.IsPathSegmentName(name))
}

func validateMetrics(metrics []autoscalingv2.MetricSpec, least *int32, path *field.Path, opts targetOptions) field.ErrorList {
	var errs field.ErrorList
	outside := false
	for i := range metrics {
		errs = append(errs, validateMetric(&metrics[i], path.Index(i), opts)...)
		switch metrics[i].Type {
		case autoscalingv2.ObjectMetricSourceType, autoscalingv2.ExternalMetricSourceType:
			outside = true
		}
	}
	if least != nil && *least == 0 && !outside {
		errs = append(errs, field.Forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

// metricSource is one of the fields of a metric, of which its type wants exactly one.
type metricSource struct {
	name  string
	kind  autoscalingv2.MetricSourceType
	set   bool
	check func(path *field.Path) field.ErrorList
}

func metricSources(m *autoscalingv2.MetricSpec, opts targetOptions) []metricSource {
	return []metricSource{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(path *field.Path) field.ErrorList {
			return validateObjectMetric(m.Object, path, opts)
		}},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(path *field.Path) field.ErrorList {
			return validateExternalMetric(m.External, path)
		}},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(path *field.Path) field.ErrorList {
			return validatePodsMetric(m.Pods, path)
		}},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(path *field.Path) field.ErrorList {
			errs := validatePresent(string(m.Resource.Name), "must specify a resource name", path.Child("name"))
			return append(errs, validateUsageTarget(m.Resource.Target, path.Child("target"))...)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(path *field.Path) field.ErrorList {
			return validateContainerMetric(m.ContainerResource, path)
		}},
	}
}

// validateMetric validates the first source there is; all but the type's are out of place. An unknown type counts twice.
func validateMetric(m *autoscalingv2.MetricSpec, path *field.Path, opts targetOptions) field.ErrorList {
	errs := validatePresent(string(m.Type), "must specify a metric source type", path.Child("type"))
	known := false
	var present []string
	for _, s := range metricSources(m, opts) {
		if s.set {
			if present = append(present, s.name); len(present) == 1 {
				errs = append(errs, s.check(path.Child(s.name))...)
			}
		}
		if s.kind == m.Type {
			known = true
			if !s.set {
				errs = append(errs, field.Required(path.Child(s.name), "must populate information for the given metric source"))
			}
		}
	}
	if !known {
		unknown := field.NotSupported(path.Child("type"), m.Type, []autoscalingv2.MetricSourceType{
			autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
			autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType})
		errs = append(errs, unknown, unknown)
	}
	if len(present) < 2 {
		return errs
	}
	for _, s := range metricSources(m, opts) {
		if s.set && s.kind != m.Type {
			errs = append(errs, field.Forbidden(path.Child(s.name), "must populate the given metric source only"))
		}
	}
	return errs
}

// validatePresent wants any value; missing is the complaint about an empty one.
func validatePresent(value, missing string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, missing)}
	}
	return nil
}

func validateObjectMetric(m *autoscalingv2.ObjectMetricSource, path *field.Path, opts targetOptions) field.ErrorList {
	errs := validateTarget(m.DescribedObject, path.Child("describedObject"), opts)
	errs = append(errs, validateMetricName(m.Metric, path)...)
	errs = append(errs, validateMetricTarget(m.Target, path.Child("target"))...)
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
	return errs
}

func validateExternalMetric(m *autoscalingv2.ExternalMetricSource, path *field.Path) field.ErrorList {
	errs := append(validateMetricName(m.Metric, path), validateMetricTarget(m.Target, path.Child("target"))...)
	switch {
	case m.Target.Value == nil && m.Target.AverageValue == nil:
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	case m.Target.Value != nil && m.Target.AverageValue != nil:
		errs = append(errs, field.Forbidden(path.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
	return errs
}

func validatePodsMetric(m *autoscalingv2.PodsMetricSource, path *field.Path) field.ErrorList {
	errs := append(validateMetricName(m.Metric, path), validateMetricTarget(m.Target, path.Child("target"))...)
	if m.Target.AverageValue == nil {
		errs = append(errs, field.Required(path.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
	return errs
}

func validateContainerMetric(m *autoscalingv2.ContainerResourceMetricSource, path *field.Path) field.ErrorList {
	errs := validatePresent(string(m.Name), "must specify a resource name", path.Child("name"))
	if m.Name != "" {
		errs = append(errs, validateContainerResourceName(m.Name, path.Child("name"))...)
	}
	if m.Container == "" {
		errs = append(errs, field.Required(path.Child("container"), "must specify a container"))
	} else {
		errs = append(errs, validateDNSLabel(m.Container, path.Child("container"))...)
	}
	return append(errs, validateUsageTarget(m.Target, path.Child("target"))...)
}

// validateUsageTarget is about the use of a resource: an amount, or a share of what is requested.
func validateUsageTarget(t autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	errs := validateMetricTarget(t, path)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		errs = append(errs, field.Required(path.Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case t.AverageUtilization != nil && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(path.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateMetricName(id autoscalingv2.MetricIdentifier, path *field.Path) field.ErrorList {
	return validatePathPart(id.Name, "must specify a metric name", path.Child("metric", "name"))
}

func validateMetricTarget(t autoscalingv2.MetricTarget, path *field.Path) field.ErrorList {
	errs := validatePresent(string(t.Type), "must specify a metric target type", path.Child("type"))
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		errs = append(errs, field.Invalid(path.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	if t.Value != nil && t.Value.Sign() <= 0 {
		errs = append(errs, field.Invalid(path.Child("value"), t.Value, "must be positive"))
	}
	if t.AverageValue != nil && t.AverageValue.Sign() <= 0 {
		errs = append(errs, field.Invalid(path.Child("averageValue"), t.AverageValue, "must be positive"))
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		errs = append(errs, field.Invalid(path.Child("averageUtilization"), t.AverageUtilization, "must be greater than 0"))
	}
	return errs
}

// The longest that scaling may look back, in seconds.
const (
	maxStabilizationWindow = 3600
	maxScalingPeriod       = 1800
)

func validateScalingRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if w, at := r.StabilizationWindowSeconds, path.Child("stabilizationWindowSeconds"); w != nil && *w < 0 {
		errs = append(errs, field.Invalid(at, w, "must be greater than or equal to zero"))
	} else if w != nil && *w > maxStabilizationWindow {
		errs = append(errs, field.Invalid(at, w, fmt.Sprintf("must be less than or equal to %d", maxStabilizationWindow)))
	}
	errs = append(errs, validateOptionalChoice(r.SelectPolicy, path.Child("selectPolicy"),
		autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(path.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		errs = append(errs, validateScalingPolicy(p, path.Child("policies").Index(i))...)
	}
	if r.Tolerance != nil {
		errs = append(errs, validateNonnegativeQuantity(*r.Tolerance, path.Child("tolerance"))...)
	}
	return errs
}

func validateScalingPolicy(p autoscalingv2.HPAScalingPolicy, path *field.Path) field.ErrorList {
	errs := validateChoice(p.Type, path.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
	errs = append(errs, validatePositive(int64(p.Value), path.Child("value"))...)
	errs = append(errs, validatePositive(int64(p.PeriodSeconds), path.Child("periodSeconds"))...)
	if p.PeriodSeconds > maxScalingPeriod {
		errs = append(errs, field.Invalid(path.Child("periodSeconds"), p.PeriodSeconds,
			fmt.Sprintf("must be less than or equal to %d", maxScalingPeriod)))
	}
	return errs
}
