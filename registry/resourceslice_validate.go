package registry

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceSlice(_ *Write, slice, old *resourcev1.ResourceSlice) field.ErrorList {
	at, s := field.NewPath("spec"), &slice.Spec
	errs := validateCSIDriverName(s.Driver, at.Child("driver"))
	errs = append(errs, validateResourcePool(s.Pool, at.Child("pool"))...)
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(s.Pool.Name, old.Spec.Pool.Name, at.Child("pool", "name"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(s.Driver, old.Spec.Driver, at.Child("driver"))...)
		errs = append(errs, apivalidation.ValidateImmutableField(s.NodeName, old.Spec.NodeName, at.Child("nodeName"))...)
	}
	errs = append(errs, validateSliceNodes(s, at)...)
	if s.SharedCounters != nil && s.Devices != nil {
		errs = append(errs, field.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	perDevice := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	errs = append(errs, validateDistinct(s.Devices, sliceCapacity(s.Devices), at.Child("devices"),
		func(d resourcev1.Device) string { return d.Name },
		func(d resourcev1.Device, at *field.Path) field.ErrorList {
			return validateDevice(&d, sameDevice(old, d.Name), perDevice, at)
		})...)
	return append(errs, validateDistinct(s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, at.Child("sharedCounters"),
		func(c resourcev1.CounterSet) string { return c.Name },
		func(c resourcev1.CounterSet, at *field.Path) field.ErrorList {
			errs := validateRequiredLabel(c.Name, at.Child("name"))
			return append(errs, validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters"))...)
		})...)
}

func validateResourcePool(p resourcev1.ResourcePool, at *field.Path) field.ErrorList {
	errs := validatePoolName(p.Name, at.Child("name"))
	errs = append(errs, validatePositive(p.ResourceSliceCount, at.Child("resourceSliceCount"))...)
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// nodeChoice is how a slice or a device says on which nodes it is to be had.
type nodeChoice struct {
	set  []string // the fields that are set, quoted
	errs field.ErrorList
}

func (c *nodeChoice) name(name *string, empty string, at *field.Path) {
	switch {
	case name == nil:
	case *name == "":
		c.errs = append(c.errs, field.Invalid(at, *name, empty))
	default:
		c.set = append(c.set, "`nodeName`")
		c.errs = append(c.errs, invalidValue(at, *name, apivalidation.NameIsDNSSubdomain(*name, false))...)
	}
}

func (c *nodeChoice) selector(s *corev1.NodeSelector, at *field.Path) {
	if s != nil {
		c.set = append(c.set, "`nodeSelector`")
		c.errs = append(c.errs, validateNodeSelector(s, false, at)...)
	}
}

func (c *nodeChoice) flag(name string, value *bool, at *field.Path) {
	switch {
	case value == nil:
	case *value:
		c.set = append(c.set, "`"+name+"`")
	default:
		c.errs = append(c.errs, field.Invalid(at.Child(name), false, "must be either unset or set to true"))
	}
}

// one wants exactly one of the fields.
func (c *nodeChoice) one(at *field.Path, why, several string) field.ErrorList {
	switch len(c.set) {
	case 0:
		return append(c.errs, field.Required(at, why))
	case 1:
		return c.errs
	}
	return append(c.errs, field.Invalid(at, "{"+strings.Join(c.set, ", ")+"}", why+several))
}

func validateSliceNodes(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	var c nodeChoice
	c.name(s.NodeName, "must be either unset or set to a non-empty string", at.Child("nodeName"))
	c.selector(s.NodeSelector, at.Child("nodeSelector"))
	if s.NodeSelector != nil && len(s.NodeSelector.NodeSelectorTerms) != 1 { // so that those of several slices can be merged
		c.errs = append(c.errs, field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), s.NodeSelector.NodeSelectorTerms, "must have exactly one node selector term"))
	}
	c.flag("allNodes", s.AllNodes, at)
	c.flag("perDeviceNodeSelection", s.PerDeviceNodeSelection, at)
	return c.one(at, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required", ", but multiple fields are set")
}

// sliceCapacity is how many devices a slice may hold: fewer, if they use what takes room.
func sliceCapacity(devices []resourcev1.Device) int {
	for _, d := range devices {
		if len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	if deviceListsInUse(devices) {
		return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	return resourcev1.ResourceSliceMaxDevices
}

func sameDevice(slice *resourcev1.ResourceSlice, name string) *resourcev1.Device {
	if slice == nil {
		return nil
	}
	for i := range slice.Spec.Devices {
		if d := &slice.Spec.Devices[i]; d.Name == name {
			return d
		}
	}
	return nil
}

func validateDevice(d, old *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	errs := validateDNSLabel(d.Name, at.Child("name"))
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)))
	}
	if n := deviceAttributeValues(d); n > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attribute values must not exceed %d", resourcev1.ResourceSliceMaxAttributeValuesPerDevice)))
	}
	const keyLength = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength
	errs = append(errs, validateEntries(d.Attributes, -1, keyLength, at.Child("attributes"), validateDeviceQualifiedName, validateDeviceAttribute)...)
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	errs = append(errs, validateEntries(d.Capacity, -1, keyLength, at.Child("capacity"), validateDeviceQualifiedName,
		func(c resourcev1.DeviceCapacity, at *field.Path) field.ErrorList {
			return validateDeviceCapacity(c, shared, at)
		})...)
	if old == nil || !equal(d.Taints, old.Taints) {
		errs = append(errs, validateItems(d.Taints, resourcev1.DeviceTaintsMaxLength, at.Child("taints"), validateDeviceTaint)...)
	}
	errs = append(errs, validateDistinct(d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, at.Child("consumesCounters"),
		func(c resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(c resourcev1.DeviceCounterConsumption, at *field.Path) field.ErrorList {
			errs := validateRequiredLabel(c.CounterSet, at.Child("counterSet"))
			return append(errs, validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters"))...)
		})...)
	errs = append(errs, validateDeviceNodes(d, perDevice, at)...)
	errs = append(errs, validateBindingConditions(d.BindingConditions, d.BindingFailureConditions, at)...)
	return append(errs, validateDeviceNodeResources(d, at.Child("nodeAllocatableResourceMappings"))...)
}

func deviceAttributeValues(d *resourcev1.Device) int {
	n := 0
	for _, a := range d.Attributes {
		n += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
	}
	return n
}

func validateDeviceNodes(d *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	if !perDevice {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			return field.ErrorList{field.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")}
		}
		return nil
	}
	var c nodeChoice
	c.name(d.NodeName, "must not be empty", at.Child("nodeName"))
	c.selector(d.NodeSelector, at.Child("nodeSelector"))
	c.flag("allNodes", d.AllNodes, at)
	return c.one(at, "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec", "")
}

func validateCounters(m map[string]resourcev1.Counter, limit int, at *field.Path) field.ErrorList {
	if len(m) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	return validateEntries(m, limit, validation.DNS1123LabelMaxLength, at, validateDNSLabel,
		func(resourcev1.Counter, *field.Path) field.ErrorList { return nil }) // any quantity will do
}

// validateDeviceAttribute wants exactly one of the fields that hold a value or values.
func validateDeviceAttribute(a resourcev1.DeviceAttribute, at *field.Path) field.ErrorList {
	const empty, one = "must not be empty if specified", "exactly one value must be specified"
	var errs field.ErrorList
	n := 0
	count := func(set bool, check func() field.ErrorList) {
		if set {
			n++
			errs = append(errs, check()...)
		}
	}
	fine := func() field.ErrorList { return nil }
	count(a.BoolValue != nil, fine)
	count(a.IntValue != nil, fine)
	count(a.StringValue != nil, func() field.ErrorList { return validateAttributeString(*a.StringValue, at.Child("string")) })
	count(a.VersionValue != nil, func() field.ErrorList { return validateAttributeVersion(*a.VersionValue, at.Child("version")) })
	count(a.BoolValues != nil, func() field.ErrorList { return notEmptyList(a.BoolValues, at.Child("bools"), empty) })
	count(a.IntValues != nil, func() field.ErrorList { return notEmptyList(a.IntValues, at.Child("ints"), empty) })
	count(a.StringValues != nil, func() field.ErrorList {
		return append(notEmptyList(a.StringValues, at.Child("strings"), empty), validateItems(a.StringValues, len(a.StringValues), at.Child("strings"), validateAttributeString)...)
	})
	count(a.VersionValues != nil, func() field.ErrorList {
		return append(notEmptyList(a.VersionValues, at.Child("versions"), empty), validateItems(a.VersionValues, len(a.VersionValues), at.Child("versions"), validateAttributeVersion)...)
	})
	switch n {
	case 0:
		errs = append(errs, field.Invalid(at, "", one))
	case 1:
	default:
		errs = append(errs, field.Invalid(at, a, one))
	}
	return errs
}

func notEmptyList[T any](list []T, at *field.Path, why string) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Invalid(at, list, why)}
	}
	return nil
}

func validateAttributeString(s string, at *field.Path) field.ErrorList {
	if len(s) > resourcev1.DeviceAttributeMaxValueLength {
		return field.ErrorList{field.TooLong(at, "", resourcev1.DeviceAttributeMaxValueLength)}
	}
	return nil
}

func validateAttributeVersion(s string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !isSemanticVersion(s) {
		errs = append(errs, field.Invalid(at, s, "must be a string compatible with semver.org spec 2.0.0"))
	}
	return append(errs, validateAttributeString(s, at)...)
}

// validateDeviceCapacity allows a policy for requests only where several claims may share the device.
func validateDeviceCapacity(c resourcev1.DeviceCapacity, shared bool, at *field.Path) field.ErrorList {
	at = at.Child("requestPolicy")
	p := c.RequestPolicy
	switch {
	case p == nil:
		return nil
	case !shared:
		return field.ErrorList{field.Forbidden(at, "allowMultipleAllocations must be true")}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(p.ValidValues) > 0 && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validValues is defined")}
	case len(p.ValidValues) > 0:
		return validateRequestValues(p.ValidValues, *p.Default, c.Value, at.Child("validValues"))
	case p.ValidRange != nil && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validRange is defined")}
	case p.ValidRange != nil:
		return validateRequestRange(p.ValidRange, *p.Default, c.Value, at.Child("validRange"))
	}
	return nil
}

// validateRequestValues wants ascending values up to the capacity, the default among them.
func validateRequestValues(values []resource.Quantity, byDefault, capacity resource.Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			errs = append(errs, field.Invalid(at.Index(i), values[i].String(), "values must be sorted in ascending order"))
		}
	}
	found := false
	errs = append(errs, validateDistinct(values, 10, at,
		func(q resource.Quantity) string { return strconv.FormatInt(q.Value(), 10) },
		func(q resource.Quantity, at *field.Path) field.ErrorList {
			found = found || q.Cmp(byDefault) == 0
			if q.Cmp(capacity) > 0 {
				return field.ErrorList{field.Invalid(at, q.String(), "option is larger than capacity value: "+capacity.String())}
			}
			return nil
		})...)
	if !found {
		errs = append(errs, field.Invalid(at, byDefault.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

func validateRequestRange(r *resourcev1.CapacityRequestPolicyRange, byDefault, capacity resource.Quantity, at *field.Path) field.ErrorList {
	if r.Min == nil {
		return field.ErrorList{field.Required(at.Child("min"), "required when validRange is defined")}
	}
	var errs field.ErrorList
	// larger complains, about the value shown, if a is larger than b.
	larger := func(a, b, shown *resource.Quantity, name, why string) {
		if a.Cmp(*b) > 0 {
			errs = append(errs, field.Invalid(at.Child(name), shown.String(), why))
		}
	}
	larger(r.Min, &capacity, r.Min, "min", "min is larger than capacity value: "+capacity.String())
	larger(r.Min, &byDefault, &byDefault, "min", "default is less than min: "+r.Min.String())
	if r.Max != nil {
		larger(r.Min, r.Max, r.Min, "max", "min is larger than max: "+r.Max.String())
		larger(r.Max, &capacity, r.Max, "max", "max is larger than capacity value: "+capacity.String())
		larger(&byDefault, r.Max, &byDefault, "max", "default is more than max: "+r.Max.String())
	}
	if r.Step == nil {
		return errs
	}
	one := r.Min.DeepCopy()
	one.Add(*r.Step)
	larger(&one, &capacity, r.Step, "step", fmt.Sprintf("one step %s is larger than capacity value: %s", one.String(), capacity.String()))
	errs = append(errs, validateRequestStep(byDefault, r, at.Child("step"))...)
	if r.Max != nil {
		errs = append(errs, validateRequestStep(*r.Max, r, at.Child("step"))...)
	}
	return errs
}

// validateRequestStep wants a value that is some whole steps from the minimum.
func validateRequestStep(value resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, at *field.Path) field.ErrorList {
	step := r.Step.Value()
	if step == 0 || (value.Value()-r.Min.Value())%step == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, value.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))}
}

// validateDeviceNodeResources is about resources of the node that a device takes up.
func validateDeviceNodeResources(d *resourcev1.Device, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(d.NodeAllocatableResourceMappings) {
		at, m := at.Key(string(name)), d.NodeAllocatableResourceMappings[name]
		if !IsNativeResource(name) {
			errs = append(errs, field.Invalid(at, name, "must be a node allocatable resource name"))
		}
		if m.AllocationMultiplier == nil && m.CapacityKey == nil {
			errs = append(errs, field.Invalid(at, "", "at least one of allocationMultiplier or capacityKey must be set"))
		}
		if q := m.AllocationMultiplier; q != nil && q.Sign() <= 0 {
			errs = append(errs, field.Invalid(at.Child("allocationMultiplier"), q.String(), "must be positive"))
		}
		if key := m.CapacityKey; key != nil {
			if *key == "" {
				errs = append(errs, field.Invalid(at.Child("capacityKey"), "", "capacityKey must not be an empty string"))
			} else if _, known := d.Capacity[*key]; !known {
				errs = append(errs, field.NotFound(at.Child("capacityKey"), *key))
			}
		}
	}
	return errs
}
