package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// limitRange bounds and defaults what the pods, containers and claims of a namespace may ask for.
func limitRange() *Resource {
	return Kind[*corev1.LimitRange]{
		Resource: Resource{
			Plural: "limitranges", Singular: "limitrange", Kind: "LimitRange", ShortNames: []string{"limits"},
			Namespaced: true, Prefix: "limitranges", Governs: true, Versions: []Version{{Name: "v1"}},
			CreateOnUpdate: true, ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: CreateRules,
		},
		Default: func(r *corev1.LimitRange) {
			for i := range r.Spec.Limits {
				defaultLimits(&r.Spec.Limits[i])
			}
		},
		Prepare: func(_ *Write, r, old *corev1.LimitRange) {
			// The only kind that gets a name when it brings none at all.
			if old == nil && r.Name == "" {
				r.Name = string(uuid.NewUUID())
			}
		},
		Validate: validateLimitRange,
	}.row()
}

// defaultLimits derives what containers get that ask for nothing: the limit from the maximum, the request from the
// limit, else from the minimum.
func defaultLimits(l *corev1.LimitRangeItem) {
	inherit := func(to, from corev1.ResourceList) {
		for name, quantity := range from {
			if _, set := to[name]; !set {
				to[name] = quantity.DeepCopy()
			}
		}
	}
	if l.Type == corev1.LimitTypeContainer {
		if l.Default == nil {
			l.Default = corev1.ResourceList{}
		}
		if l.DefaultRequest == nil {
			l.DefaultRequest = corev1.ResourceList{}
		}
		inherit(l.Default, l.Max)
		inherit(l.DefaultRequest, l.Default)
		inherit(l.DefaultRequest, l.Min)
	}
	for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		defaultResourceList(list)
	}
}

func validateLimitRange(_ *Write, r, _ *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.LimitType]()
	for i := range r.Spec.Limits {
		l, path := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		errs = append(errs, validateLimitType(l.Type, path.Child("type"))...)
		if seen.Has(l.Type) {
			errs = append(errs, field.Duplicate(path.Child("type"), l.Type))
		}
		seen.Insert(l.Type)
		errs = append(errs, validateLimits(l, path)...)
	}
	return errs
}

func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := invalidValue(path, t, validation.IsQualifiedName(string(t))); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	if !strings.Contains(string(t), "/") {
		return field.ErrorList{field.Invalid(path, t, "must be a standard limit type or fully qualified")}
	}
	return nil
}

// validateLimits checks the names of each list, then the amounts of each resource against each other.
func validateLimits(l *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	errs := validateLimitNames(l.Type, l.Max, path.Child("max"))
	errs = append(errs, validateLimitNames(l.Type, l.Min, path.Child("min"))...)
	checked := *l
	if l.Type == corev1.LimitTypePod {
		checked.Default, checked.DefaultRequest = nil, nil
		if len(l.Default) > 0 {
			errs = append(errs, field.Forbidden(path.Child("default"), "may not be specified when `type` is 'Pod'"))
		}
		if len(l.DefaultRequest) > 0 {
			errs = append(errs, field.Forbidden(path.Child("defaultRequest"), "may not be specified when `type` is 'Pod'"))
		}
	}
	errs = append(errs, validateLimitNames(l.Type, checked.Default, path.Child("default"))...)
	errs = append(errs, validateLimitNames(l.Type, checked.DefaultRequest, path.Child("defaultRequest"))...)
	if l.Type == corev1.LimitTypePersistentVolumeClaim {
		_, min := l.Min[corev1.ResourceStorage]
		_, max := l.Max[corev1.ResourceStorage]
		if !min && !max {
			errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	errs = append(errs, validateLimitNames(l.Type, l.MaxLimitRequestRatio, path.Child("maxLimitRequestRatio"))...)
	names := sets.New[corev1.ResourceName]()
	for _, list := range []corev1.ResourceList{checked.Max, checked.Min, checked.Default, checked.DefaultRequest, checked.MaxLimitRequestRatio} {
		names.Insert(slices.Collect(maps.Keys(list))...)
	}
	for _, name := range sets.List(names) {
		errs = append(errs, validateLimitAmounts(&checked, name, path)...)
	}
	return errs
}

func validateLimitNames(t corev1.LimitType, list corev1.ResourceList, path *field.Path) field.ErrorList {
	check := validateResourceName
	if t == corev1.LimitTypePod || t == corev1.LimitTypeContainer {
		check = validateContainerResourceName
	}
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		errs = append(errs, check(name, path.Key(string(name)))...)
	}
	return errs
}

// limitOrder is a pair of lists of which the first may not exceed the second for any resource.
type limitOrder struct {
	low, high         corev1.ResourceList
	lowName, highName string // in the message
	at                string // the list that is reported
	lowValue          bool   // report low's value, not high's
}

// validateLimitAmounts holds the amounts of one resource against each other.
func validateLimitAmounts(l *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, o := range []limitOrder{
		{l.Min, l.Max, "min value", "max value", "min", true},
		{l.Min, l.DefaultRequest, "min value", "default request value", "defaultRequest", false},
		{l.DefaultRequest, l.Max, "default request value", "max value", "defaultRequest", true},
		{l.DefaultRequest, l.Default, "default request value", "default limit value", "defaultRequest", true},
		{l.Min, l.Default, "min value", "default value", "default", true},
		{l.Default, l.Max, "default value", "max value", "default", false},
	} {
		low, ok := o.low[name]
		high, also := o.high[name]
		if !ok || !also || low.Cmp(high) <= 0 {
			continue
		}
		reported := high
		if o.lowValue {
			reported = low
		}
		errs = append(errs, field.Invalid(path.Child(o.at).Key(string(name)), reported,
			fmt.Sprintf("%s %s is greater than %s %s", o.lowName, low.String(), o.highName, high.String())))
	}
	errs = append(errs, validateLimitRatio(l, name, path.Child("maxLimitRequestRatio").Key(string(name)))...)
	limit, limited := l.Default[name]
	request, requested := l.DefaultRequest[name]
	if !isOvercommittable(name) && limited && requested && limit.Cmp(request) != 0 {
		errs = append(errs, field.Invalid(path.Child("defaultRequest").Key(string(name)), request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)))
	}
	return errs
}

// validateLimitRatio wants a ratio of limit to request of at least one, and one that max and min can reach.
func validateLimitRatio(l *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) field.ErrorList {
	ratio, set := l.MaxLimitRequestRatio[name]
	if !set {
		return nil
	}
	var errs field.ErrorList
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		errs = append(errs, field.Invalid(path, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	min, hasMin := l.Min[name]
	max, hasMax := l.Max[name]
	if !hasMin || !hasMax {
		return errs
	}
	// Thousandths where all three can be counted in them.
	wanted, most := float64(ratio.Value()), float64(max.Value())/float64(min.Value())
	if ratio.Value() < resource.MaxMilliValue && min.Value() < resource.MaxMilliValue && max.Value() < resource.MaxMilliValue {
		wanted, most = float64(ratio.MilliValue())/1000, float64(max.MilliValue())/float64(min.MilliValue())
	}
	if wanted > most {
		errs = append(errs, field.Invalid(path, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), most)))
	}
	return errs
}
