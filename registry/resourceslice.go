package registry

import (
	"fmt"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// resourceSlice is a part of a pool of devices, as their driver publishes it.
func resourceSlice() *Resource {
	return Kind[*resourcev1.ResourceSlice]{
		Resource: Resource{
			Group: resourcev1.GroupName, Plural: "resourceslices", Singular: "resourceslice", Kind: "ResourceSlice",
			Prefix: "resourceslices", Versions: []Version{{Name: "v1"}}, DeleteReturnsObject: true,
			ValidateName: apivalidation.NameIsDNSSubdomain,
			UnknownField: "Kind=ResourceSlice: %s, field label not supported for resource.k8s.io/v1",
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("Node", doc(resourcev1.ResourceSliceSpec{}, "nodeName")),
				textColumn("Driver", doc(resourcev1.ResourceSliceSpec{}, "driver")),
				textColumn("Pool", doc(resourcev1.ResourcePool{}, "name")),
				ageColumn(),
			},
		},
		Fields: []Field[*resourcev1.ResourceSlice]{
			{Path: resourcev1.ResourceSliceSelectorNodeName, Value: sliceNode, Indexed: true},
			{Path: resourcev1.ResourceSliceSelectorDriver, Value: func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver }},
		},
		Default: defaultResourceSlice,
		Prepare: func(_ *Write, s, old *resourcev1.ResourceSlice) {
			bumpGeneration(s, old, old != nil && !equal(s.Spec, old.Spec))
			dropDeviceFields(s, old)
		},
		Validate: validateResourceSlice,
		Warn: func(_ *Write, s, _ *resourcev1.ResourceSlice) []string {
			if s.Spec.Driver == strings.ToLower(s.Spec.Driver) {
				return nil
			}
			return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", s.Spec.Driver)}
		},
		Cells: func(s *resourcev1.ResourceSlice) []any {
			return []any{s.Name, sliceNode(s), s.Spec.Driver, s.Spec.Pool.Name, Age{At: s.CreationTimestamp}}
		},
	}.row()
}

func sliceNode(s *resourcev1.ResourceSlice) string {
	if s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}

func defaultResourceSlice(s *resourcev1.ResourceSlice) {
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		for name, m := range d.NodeAllocatableResourceMappings {
			fillPointer(&m.AllocationMultiplier, resource.MustParse("1"))
			d.NodeAllocatableResourceMappings[name] = m
		}
		for j := range d.Taints {
			fillPointer(&d.Taints[j].TimeAdded, metav1.Time{Time: time.Now().Truncate(time.Second)})
		}
	}
}

// dropDeviceFields drops what 1.36 has switched off, unless the old slice uses it: attributes that are lists, and
// resources of the node that a device takes up.
func dropDeviceFields(s, old *resourcev1.ResourceSlice) {
	lists, mappings := false, false
	if old != nil {
		lists = deviceListsInUse(old.Spec.Devices)
		for _, d := range old.Spec.Devices {
			mappings = mappings || len(d.NodeAllocatableResourceMappings) > 0
		}
	}
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		if !mappings {
			d.NodeAllocatableResourceMappings = nil
		}
		for name, a := range d.Attributes {
			if !lists {
				a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[name] = a
			}
		}
	}
}

func deviceListsInUse(devices []resourcev1.Device) bool {
	for _, d := range devices {
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
	}
	return false
}
