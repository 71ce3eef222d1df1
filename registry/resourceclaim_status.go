package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/dynamic-resource-allocation/structured/schedulerapi"
)

// The status of a claim is written by the scheduler (allocation, reservations) and by the drivers of the devices
// (what became of them). Each needs a permission for its part.

// allocatedDevices are the devices, or shares of devices, that an allocation names.
func allocatedDevices(a *resourcev1.AllocationResult) sets.Set[schedulerapi.SharedDeviceID] {
	ids := sets.New[schedulerapi.SharedDeviceID]()
	if a == nil {
		return ids
	}
	for _, r := range a.Devices.Results {
		ids.Insert(schedulerapi.MakeSharedDeviceID(schedulerapi.MakeDeviceID(r.Driver, r.Pool, r.Device), r.ShareID))
	}
	return ids
}

func deviceOf(d resourcev1.AllocatedDeviceStatus) schedulerapi.SharedDeviceID {
	return schedulerapi.MakeSharedDeviceID(schedulerapi.MakeDeviceID(d.Driver, d.Pool, d.Device), (*types.UID)(d.ShareID))
}

// dropReleasedDevices forgets the status of devices that the claim had and has no more, for clients that know
// nothing of it.
func dropReleasedDevices(c, old *resourcev1.ResourceClaim) {
	released := allocatedDevices(old.Status.Allocation).Difference(allocatedDevices(c.Status.Allocation))
	c.Status.Devices = slices.DeleteFunc(c.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool { return released.Has(deviceOf(d)) })
	if len(c.Status.Devices) == 0 {
		c.Status.Devices = nil
	}
}

func validateResourceClaimStatus(w *Write, c, old *resourcev1.ResourceClaim) field.ErrorList {
	at, s := field.NewPath("status"), &c.Status
	errs := authorizeAdminResults(w, c, old)
	errs = append(errs, authorizeClaimBinding(w, c, old, at.Child("allocation"))...)
	if s.Allocation != nil {
		errs = append(errs, authorizeDeviceStatus(w, c, old, at.Child("devices"))...)
	}
	errs = append(errs, validateReservations(c, old, at.Child("reservedFor"))...)
	has := allocatedDevices(s.Allocation)
	errs = append(errs, validateDistinct(s.Devices, len(s.Devices), at.Child("devices"), deviceOf,
		func(d resourcev1.AllocatedDeviceStatus, at *field.Path) field.ErrorList {
			return validateDeviceStatus(d, has, at)
		})...)
	switch {
	case s.Allocation != nil && old.Status.Allocation != nil:
		errs = append(errs, apivalidation.ValidateImmutableField(s.Allocation, old.Status.Allocation, at.Child("allocation"))...)
	case s.Allocation != nil:
		errs = append(errs, validateAllocation(s.Allocation, deviceRequestNamesOf(&c.Spec.Devices), at.Child("allocation"))...)
	}
	return errs
}

func validateReservations(c, old *resourcev1.ResourceClaim, at *field.Path) field.ErrorList {
	list := c.Status.ReservedFor
	errs := validateDistinct(list, resourcev1.ResourceClaimReservedForMaxSize, at,
		func(r resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID },
		func(r resourcev1.ResourceClaimConsumerReference, at *field.Path) field.ErrorList {
			errs := validateRequired(r.Resource, at.Child("resource"))
			errs = append(errs, validateRequired(r.Name, at.Child("name"))...)
			return append(errs, validateRequired(string(r.UID), at.Child("uid"))...)
		})
	switch {
	case len(list) == 0:
	case c.Status.Allocation == nil:
		errs = append(errs, field.Forbidden(at, "may not be specified when `allocated` is not set"))
	case c.DeletionTimestamp != nil && !sets.New(old.Status.ReservedFor...).HasAll(list...):
		errs = append(errs, field.Forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
	}
	return errs
}

func validateDeviceStatus(d resourcev1.AllocatedDeviceStatus, has sets.Set[schedulerapi.SharedDeviceID], at *field.Path) field.ErrorList {
	errs := validateCSIDriverName(d.Driver, at.Child("driver"))
	errs = append(errs, validatePoolName(d.Pool, at.Child("pool"))...)
	errs = append(errs, validateDNSLabel(d.Device, at.Child("device"))...)
	if d.ShareID != nil {
		errs = append(errs, validateShareID(*d.ShareID, at.Child("shareID"))...)
	}
	if id := deviceOf(d); !has.Has(id) {
		errs = append(errs, field.Invalid(at, id, "must be an allocated device in the claim"))
	}
	if n := len(d.Conditions); n > resourcev1.AllocatedDeviceStatusMaxConditions {
		errs = append(errs, field.TooMany(at.Child("conditions"), n, resourcev1.AllocatedDeviceStatusMaxConditions))
	}
	errs = append(errs, metav1validation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		errs = append(errs, validateRawObject(*d.Data, resourcev1.AllocatedDeviceStatusDataMaxLength, at.Child("data"))...)
	}
	if d.NetworkData != nil {
		errs = append(errs, validateNetworkDevice(d.NetworkData, at.Child("networkData"))...)
	}
	return errs
}

func validateNetworkDevice(d *resourcev1.NetworkDeviceData, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(d.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		errs = append(errs, field.TooLong(at.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength))
	}
	if len(d.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		errs = append(errs, field.TooLong(at.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength))
	}
	return append(errs, validateDistinct(d.IPs, resourcev1.NetworkDeviceDataMaxIPs, at.Child("ips"), itself,
		func(ip string, at *field.Path) field.ErrorList { return validation.IsValidInterfaceAddress(at, ip) })...)
}

func validateAllocation(a *resourcev1.AllocationResult, names deviceRequestNames, at *field.Path) field.ErrorList {
	devices := at.Child("devices")
	errs := validateItems(a.Devices.Results, resourcev1.AllocationResultsMaxSize, devices.Child("results"),
		func(r resourcev1.DeviceRequestAllocationResult, at *field.Path) field.ErrorList {
			errs := names.validateReference(r.Request, at.Child("request"))
			errs = append(errs, validateCSIDriverName(r.Driver, at.Child("driver"))...)
			errs = append(errs, validatePoolName(r.Pool, at.Child("pool"))...)
			errs = append(errs, validateDNSLabel(r.Device, at.Child("device"))...)
			errs = append(errs, validateBindingConditions(r.BindingConditions, r.BindingFailureConditions, at)...)
			if r.ShareID != nil {
				errs = append(errs, validateShareID(string(*r.ShareID), at.Child("shareID"))...)
			}
			return errs
		})
	errs = append(errs, validateItems(a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, devices.Child("config"), // of classes and of the claim
		func(c resourcev1.DeviceAllocationConfiguration, at *field.Path) field.ErrorList {
			errs := validateRequiredChoice(c.Source, at.Child("source"), resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			errs = append(errs, names.validateReferences(c.Requests, at.Child("requests"))...)
			return append(errs, validateDeviceConfiguration(c.DeviceConfiguration, false, at)...)
		})...)
	if a.NodeSelector != nil {
		errs = append(errs, validateNodeSelector(a.NodeSelector, false, at.Child("nodeSelector"))...)
	}
	return errs
}

// authorizeAdminResults allows to hand out access to devices in use only in namespaces that are labelled for it.
func authorizeAdminResults(w *Write, c, old *resourcev1.ResourceClaim) field.ErrorList {
	granted := func(c *resourcev1.ResourceClaim) int {
		if c.Status.Allocation == nil {
			return -1
		}
		return slices.IndexFunc(c.Status.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
			return r.AdminAccess != nil && *r.AdminAccess
		})
	}
	i := granted(c)
	if i < 0 || granted(old) >= 0 {
		return nil
	}
	return authorizeAdminNamespace(w, c.Namespace, field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"))
}

// authorizeClaimBinding wants, of whoever allocates or reserves, the permission for resourceclaims/binding.
func authorizeClaimBinding(w *Write, c, old *resourcev1.ResourceClaim, at *field.Path) field.ErrorList {
	if equal(c.Status.Allocation, old.Status.Allocation) && equal(c.Status.ReservedFor, old.Status.ReservedFor) {
		return nil
	}
	if err := w.authorizeClaimPart(Attributes{Verb: w.Verb, Subresource: resourcev1.SubresourceBinding}); err != nil {
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf(`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, w.Verb, err))}
	}
	return nil
}

// authorizeDeviceStatus wants, for each driver whose devices' status changes, the permission for
// resourceclaims/driver: on any node, or on the node that the claim is allocated for if the driver runs there.
func authorizeDeviceStatus(w *Write, c, old *resourcev1.ResourceClaim, at *field.Path) field.ErrorList {
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + w.Verb}
	if node := allocatedNode(c.Status.Allocation); node != "" && strings.HasPrefix(w.User.Name, "system:serviceaccount:") &&
		slices.Equal(w.User.Extra["authentication.kubernetes.io/node-name"], []string{node}) {
		verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + w.Verb}, verbs...)
	}
	var errs field.ErrorList
	for _, driver := range changedDrivers(c.Status.Devices, old.Status.Devices) {
		var first error
		for _, verb := range verbs {
			err := w.authorizeClaimPart(Attributes{Verb: verb, Subresource: resourcev1.SubresourceDriver, Namespace: w.Namespace, Name: driver})
			if err == nil {
				first = nil
				break
			}
			if first == nil {
				first = err
			}
		}
		if first != nil {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf(`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, first)))
		}
	}
	return errs
}

// allocatedNode is the one node that an allocation is good for, if it names one.
func allocatedNode(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	if f := term.MatchFields[0]; f.Key == metav1.ObjectNameField && f.Operator == "In" && len(f.Values) == 1 {
		return f.Values[0]
	}
	return ""
}

func changedDrivers(devices, old []resourcev1.AllocatedDeviceStatus) []string {
	before := map[schedulerapi.SharedDeviceID]resourcev1.AllocatedDeviceStatus{}
	for _, d := range old {
		before[deviceOf(d)] = d
	}
	drivers := sets.New[string]()
	for _, d := range devices {
		if b, known := before[deviceOf(d)]; !known || !equal(b, d) {
			drivers.Insert(d.Driver)
		}
		delete(before, deviceOf(d))
	}
	for _, removed := range before {
		drivers.Insert(removed.Driver)
	}
	return sets.List(drivers)
}

// authorizeClaimPart asks for a permission on a part of claims that is no resource, only a name to give permissions for.
func (w *Write) authorizeClaimPart(a Attributes) error {
	if w.Registry.Authorizer == nil {
		return nil
	}
	a.User, a.ResourceRequest, a.Group, a.Version, a.Resource = w.User, true, resourcev1.GroupName, w.Version, "resourceclaims"
	decision, reason, err := w.Registry.Authorizer.Authorize(context.Background(), &a)
	if decision == Allow {
		return nil
	}
	words := []string{fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope", w.User.Name, a.Verb, a.Resource+"/"+a.Subresource, a.Group)}
	if a.Namespace != "" {
		words[0] = fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q", w.User.Name, a.Verb, a.Resource+"/"+a.Subresource, a.Group, a.Namespace)
	}
	if err != nil {
		words = append(words, err.Error())
	}
	if reason != "" {
		words = append(words, reason)
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource + "/" + a.Subresource}, a.Name, fmt.Errorf("%s", strings.Join(words, ": ")))
}
