package registry

import (
	"context"
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/knarr-dev/knarr/registry/store"
)

// resourceClaim asks for devices; its status tells which it got, and who uses them.
func resourceClaim() *Resource {
	return Kind[*resourcev1.ResourceClaim]{
		Resource: Resource{
			Group: resourcev1.GroupName, Plural: "resourceclaims", Singular: "resourceclaim", Kind: "ResourceClaim", Namespaced: true,
			Prefix: "resourceclaims", Versions: []Version{{Name: "v1"}}, DeleteReturnsObject: true,
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules, Reset: []string{"status"},
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				textColumn("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
				ageColumn(),
			},
		},
		Default: func(c *resourcev1.ResourceClaim) {
			defaultDeviceRequests(c.Spec.Devices.Requests)
			if a := c.Status.Allocation; a != nil {
				for i := range a.Devices.Results {
					defaultDeviceTolerations(a.Devices.Results[i].Tolerations)
				}
			}
		},
		Prepare: func(_ *Write, c, old *resourcev1.ResourceClaim) {
			c.Status = resourcev1.ResourceClaimStatus{}
			if old != nil {
				c.Status = old.Status
			}
		},
		Validate: func(w *Write, c, old *resourcev1.ResourceClaim) field.ErrorList {
			if old != nil {
				return apivalidation.ValidateImmutableField(c.Spec, old.Spec, field.NewPath("spec"))
			}
			errs := authorizeAdminDevices(w, c.Namespace, c.Spec.Devices.Requests)
			return append(errs, validateDeviceClaim(&c.Spec.Devices, field.NewPath("spec", "devices"))...)
		},
		Cells: func(c *resourcev1.ResourceClaim) []any {
			return []any{c.Name, resourceClaimState(c), Age{At: c.CreationTimestamp}}
		},
		Status: &Door[*resourcev1.ResourceClaim]{
			Reset: []string{"metadata", "spec"},
			Prepare: func(_ *Write, c, old *resourcev1.ResourceClaim) {
				c.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
				dropReleasedDevices(c, old)
			},
			Validate: validateResourceClaimStatus,
		},
	}.row()
}

// resourceClaimTemplate is what claims of pods are made from.
func resourceClaimTemplate() *Resource {
	return Kind[*resourcev1.ResourceClaimTemplate]{
		Resource: Resource{
			Group: resourcev1.GroupName, Plural: "resourceclaimtemplates", Singular: "resourceclaimtemplate", Kind: "ResourceClaimTemplate", Namespaced: true,
			Prefix: "resourceclaimtemplates", Versions: []Version{{Name: "v1"}}, DeleteReturnsObject: true,
			ValidateName: apivalidation.NameIsDNSSubdomain, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{nameColumn(), ageColumn()},
		},
		Default: func(t *resourcev1.ResourceClaimTemplate) {
			defaultDeviceRequests(t.Spec.Spec.Devices.Requests)
		},
		Validate: func(w *Write, t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			at := field.NewPath("spec")
			var errs field.ErrorList
			if old == nil {
				errs = authorizeAdminDevices(w, t.Namespace, t.Spec.Spec.Devices.Requests)
			}
			errs = append(errs, validateClaimTemplateMeta(&t.Spec.ObjectMeta, at.Child("metadata"))...)
			errs = append(errs, validateDeviceClaim(&t.Spec.Spec.Devices, at.Child("spec", "devices"))...)
			if old != nil && !equal(t.Spec, old.Spec) {
				errs = append(errs, field.Invalid(at, quotedTemplate{t.Spec.ObjectMeta, t.Spec.Spec}, apivalidation.FieldImmutableErrorMsg))
			}
			return errs
		},
		Cells: func(t *resourcev1.ResourceClaimTemplate) []any { return []any{t.Name, Age{At: t.CreationTimestamp}} },
	}.row()
}

func defaultDeviceRequests(requests []resourcev1.DeviceRequest) {
	mode := func(mode *resourcev1.DeviceAllocationMode, count *int64) {
		fill(mode, resourcev1.DeviceAllocationModeExactCount)
		if *mode == resourcev1.DeviceAllocationModeExactCount {
			fill(count, 1)
		}
	}
	for i := range requests {
		if e := requests[i].Exactly; e != nil {
			mode(&e.AllocationMode, &e.Count)
			defaultDeviceTolerations(e.Tolerations)
		}
		for j := range requests[i].FirstAvailable {
			sub := &requests[i].FirstAvailable[j]
			mode(&sub.AllocationMode, &sub.Count)
			defaultDeviceTolerations(sub.Tolerations)
		}
	}
}

func defaultDeviceTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		fill(&list[i].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}

func resourceClaimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

// authorizeAdminDevices allows access to devices in use only in namespaces that are labelled for it.
func authorizeAdminDevices(w *Write, namespace string, requests []resourcev1.DeviceRequest) field.ErrorList {
	for i, r := range requests {
		if r.Exactly != nil && r.Exactly.AdminAccess != nil && *r.Exactly.AdminAccess {
			return authorizeAdminNamespace(w, namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

func authorizeAdminNamespace(w *Write, namespace string, at *field.Path) field.ErrorList {
	labels, err := w.namespaceLabels(namespace)
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	}
	if labels[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
		return field.ErrorList{field.Forbidden(at, "admin access to devices requires the `"+resourcev1.DRAAdminNamespaceLabelKey+": true` label on the containing namespace")}
	}
	return nil
}

func (w *Write) namespaceLabels(namespace string) (map[string]string, error) {
	entry, err := w.Registry.Store("", "namespaces").Get(context.Background(), store.Key{Name: namespace}, "")
	if err != nil {
		return nil, err
	}
	obj, err := entry.Object()
	if err != nil {
		return nil, err
	}
	return obj.GetLabels(), nil
}
