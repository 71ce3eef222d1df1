package registry

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
)

// What the kinds of dynamic resource allocation share: names, bounded lists, selectors in CEL, configuration for
// drivers, taints and tolerations of devices.

// validateItems judges each item of a list of at most limit items; a longer list is not looked into.
func validateItems[T any](list []T, limit int, at *field.Path, item func(T, *field.Path) field.ErrorList) field.ErrorList {
	if len(list) > limit {
		return field.ErrorList{field.TooMany(at, len(list), limit)}
	}
	var errs field.ErrorList
	for i, v := range list {
		errs = append(errs, item(v, at.Index(i))...)
	}
	return errs
}

// validateDistinct is validateItems for lists in which no two items have the same key.
func validateDistinct[T any, K comparable](list []T, limit int, at *field.Path, key func(T) K, item func(T, *field.Path) field.ErrorList) field.ErrorList {
	errs := validateItems(list, limit, at, item)
	if len(list) > limit {
		return errs
	}
	seen := sets.New[K]()
	for i, v := range list {
		if seen.Has(key(v)) {
			errs = append(errs, field.Duplicate(at.Index(i), key(v)))
		}
		seen.Insert(key(v))
	}
	return errs
}

func itself(s string) string { return s }

// validateEntries judges keys and values of a map of at most limit entries (none if negative). Keys are shown
// shortened to length, as they come from the user.
func validateEntries[K ~string, V any](m map[K]V, limit, length int, at *field.Path, key func(K, *field.Path) field.ErrorList, value func(V, *field.Path) field.ErrorList) field.ErrorList {
	if limit >= 0 && len(m) > limit {
		return field.ErrorList{field.TooMany(at, len(m), limit)}
	}
	var errs field.ErrorList
	for _, k := range sortedKeys(m) {
		errs = append(errs, key(k, at)...)
		errs = append(errs, value(m[k], at.Key(shortened(string(k), length)))...)
	}
	return errs
}

// shortened leaves out the middle of a string that is longer than length bytes.
func shortened(s string, length int) string {
	const dots = "..."
	if len(s) <= length {
		return s
	}
	rest := length - len(dots)
	return s[:(rest+1)/2] + dots + s[len(s)-rest/2:]
}

// validateDeviceQualifiedName wants a C identifier, with a domain and a slash before it or without.
func validateDeviceQualifiedName(name resourcev1.QualifiedName, at *field.Path) field.ErrorList {
	parts := strings.Split(string(name), "/")
	if len(parts) == 1 {
		return validateDeviceIdentifier(parts[0], at)
	}
	if len(parts) > 2 { // taken as it is, as it always was
		return nil
	}
	var errs field.ErrorList
	if parts[0] == "" {
		errs = append(errs, field.Invalid(at, "", "the domain must not be empty"))
	} else {
		errs = append(errs, validateCSIDriverName(parts[0], at)...)
	}
	if parts[1] == "" {
		return append(errs, field.Invalid(at, "", "the name must not be empty"))
	}
	return append(errs, validateDeviceIdentifier(parts[1], at)...)
}

func validateDeviceIdentifier(id string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(at, "", resourcev1.DeviceMaxIDLength))
	}
	return append(errs, invalidValue(at, id, validation.IsCIdentifier(id))...)
}

// validateDeviceFullName wants the domain as well.
func validateDeviceFullName(name resourcev1.FullyQualifiedName, at *field.Path) field.ErrorList {
	errs := validateDeviceQualifiedName(resourcev1.QualifiedName(name), at)
	if !strings.Contains(string(name), "/") {
		errs = append(errs, field.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash"))
	}
	return errs
}

// validatePoolName wants DNS subdomains with slashes between them.
func validatePoolName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(at, "", resourcev1.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		errs = append(errs, validateDNSSubdomain(part, at)...)
	}
	return errs
}

// validateShareID wants a UUID in its usual form.
func validateShareID(id string, at *field.Path) field.ErrorList {
	if err := uuid.Validate(id); err != nil {
		return field.ErrorList{field.Invalid(at, id, "error validating uid: "+err.Error())}
	}
	if len(id) != 36 || id != strings.ToLower(id) {
		return field.ErrorList{field.Invalid(at, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")}
	}
	return nil
}

// validateDeviceSelectors compiles the expressions of selectors; those that were stored before may use what new ones may not.
func validateDeviceSelectors(list []resourcev1.DeviceSelector, stored bool, at *field.Path) field.ErrorList {
	return validateItems(list, resourcev1.DeviceSelectorsMaxSize, at, func(s resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
		if s.CEL == nil {
			return field.ErrorList{field.Required(at.Child("cel"), "")}
		}
		return validateDeviceExpression(s.CEL.Expression, stored, at.Child("cel", "expression"))
	})
}

func validateDeviceExpression(text string, stored bool, at *field.Path) field.ErrorList {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(at, "", resourcev1.CELSelectorExpressionMaxLength)}
	}
	kind := environment.NewExpressions
	if stored {
		kind = environment.StoredExpressions
	}
	compiler := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true})
	result := compiler.CompileCELExpression(text, dracel.Options{EnvType: &kind})
	if result.Error == nil && result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		return field.ErrorList{field.Forbidden(at, "too complex, exceeds cost limit")}
	}
	return expressionError(at, text, result.Error)
}

// validateDeviceConfiguration is about parameters that only the named driver understands.
func validateDeviceConfiguration(c resourcev1.DeviceConfiguration, stored bool, at *field.Path) field.ErrorList {
	at = at.Child("opaque")
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := validateCSIDriverName(c.Opaque.Driver, at.Child("driver"))
	limit := resourcev1.OpaqueParametersMaxLength
	if stored { // the limit came later than the field
		limit = len(c.Opaque.Parameters.Raw)
	}
	return append(errs, validateRawObject(c.Opaque.Parameters, limit, at.Child("parameters"))...)
}

// validateRawObject wants a JSON object of at most limit bytes.
func validateRawObject(raw runtime.RawExtension, limit int, at *field.Path) field.ErrorList {
	var v any
	switch {
	case len(raw.Raw) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(raw.Raw) > limit:
		return field.ErrorList{field.TooLong(at, "", limit)}
	}
	if err := json.Unmarshal(raw.Raw, &v); err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "error parsing data as JSON: "+err.Error())}
	}
	if v == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	if _, ok := v.(map[string]any); !ok {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "must be a valid JSON object")}
	}
	return nil
}

func validateDeviceTaint(t resourcev1.DeviceTaint, at *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabelName(t.Key, at.Child("key"))
	errs = append(errs, invalidValue(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
	return append(errs, validateRequiredChoice(t.Effect, at.Child("effect"),
		resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)...)
}

func validateDeviceToleration(t resourcev1.DeviceToleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
		}
	case resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, invalidValue(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
	default:
		errs = append(errs, validateRequiredChoice(t.Operator, at.Child("operator"),
			resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)...)
	}
	if t.Effect != "" {
		errs = append(errs, validateChoice(t.Effect, at.Child("effect"),
			resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)...)
	}
	return errs
}

// validateBindingConditions wants conditions that a driver sets and conditions by which it fails, both or none.
func validateBindingConditions(ready, failed []string, at *field.Path) field.ErrorList {
	readyAt, failedAt := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	label := func(name string, at *field.Path) field.ErrorList { return metav1validation.ValidateLabelName(name, at) }
	errs := validateItems(ready, resourcev1.BindingConditionsMaxSize, readyAt, label)
	errs = append(errs, validateItems(failed, resourcev1.BindingFailureConditionsMaxSize, failedAt, label)...)
	seen := sets.New[string]()
	for i, c := range ready {
		if seen.Has(c) {
			errs = append(errs, field.Duplicate(readyAt.Index(i), c))
		}
		seen.Insert(c)
	}
	seenFailed := sets.New[string]()
	for i, c := range failed {
		if seenFailed.Has(c) {
			errs = append(errs, field.Duplicate(failedAt.Index(i), c))
		}
		seenFailed.Insert(c)
		if seen.Has(c) {
			errs = append(errs, field.Invalid(failedAt.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	switch {
	case len(ready) == 0 && len(failed) > 0:
		errs = append(errs, field.Invalid(readyAt, ready, "bindingConditions are required to use bindingFailureConditions"))
	case len(failed) == 0 && len(ready) > 0:
		errs = append(errs, field.Invalid(failedAt, failed, "bindingFailureConditions are required to use bindingConditions"))
	}
	return errs
}

// isSemanticVersion is true for versions by semver.org 2.0.0.
func isSemanticVersion(s string) bool {
	const (
		number = `(0|[1-9]\d*)`
		pre    = `(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)`
		build  = `[0-9a-zA-Z-]+`
	)
	ok, _ := regexp.MatchString(`^`+number+`\.`+number+`\.`+number+`(-`+pre+`(\.`+pre+`)*)?(\+`+build+`(\.`+build+`)*)?$`, s)
	return ok
}
