package admission

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// byStorageClass stands between a class and what a quota bounds of it: gold.storageclass.storage.k8s.io/requests.storage.
const byStorageClass = ".storageclass.storage.k8s.io/"

// claimMeter measures claims for volumes: their number and what they request, in all and by storage class.
func claimMeter() *meter {
	count := countName(schema.GroupResource{Resource: "persistentvolumeclaims"})
	measured := []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	return &meter{
		counts: func(a *Attributes) bool {
			return createsOrUpdates(a) || a.Subresource == "status" // which says what was given, and of which class
		},
		names: func(_ context.Context, name corev1.ResourceName) bool {
			if _, plain, ok := strings.Cut(string(name), byStorageClass); ok {
				name = corev1.ResourceName(plain)
			}
			return name == count || slices.Contains(measured, name)
		},
		usage: func(_ context.Context, obj registry.Object) corev1.ResourceList {
			claim := obj.(*corev1.PersistentVolumeClaim)
			used := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: number(1)}
			if size := claimSize(claim); size != nil {
				used[corev1.ResourceRequestsStorage] = *size
			}
			if class := storageClassOf(claim); class != "" {
				for name, q := range sum(used, nil) {
					used[corev1.ResourceName(class+byStorageClass)+name] = q
				}
			}
			used[count] = number(1)
			return used
		},
		inScope: func(scope corev1.ScopedResourceSelectorRequirement, obj registry.Object) (bool, error) {
			if scope.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
				return false, nil
			}
			return scopeSelects(scope, attributeClasses(obj.(*corev1.PersistentVolumeClaim))...)
		},
	}
}

// attributeClasses are the volume attributes classes that a claim has, wants or is on its way to.
func attributeClasses(claim *corev1.PersistentVolumeClaim) []string {
	names := []string{ptr.Deref(claim.Spec.VolumeAttributesClassName, ""), ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, "")}
	if m := claim.Status.ModifyVolumeStatus; m != nil {
		names = append(names, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
}

// claimSize is what a claim requests, or has been given if that is more, in whole bytes.
func claimSize(claim *corev1.PersistentVolumeClaim) *resource.Quantity {
	size, requested := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !requested {
		return nil
	}
	if given, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(size) > 0 {
		size = given
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	return &size
}

// countDeviceClaims is the number of claims for devices.
const countDeviceClaims corev1.ResourceName = "count/resourceclaims.resource.k8s.io"

// deviceMeter measures claims for devices: their number, and the devices of each class that they may get at most. Devices of a
// class that is an extended resource are bounded by the names of that resource as well, unless a pod is charged for
// them already.
func deviceMeter(objects Objects, now func() time.Time) *meter {
	m := devices{objects, now}
	return &meter{counts: createsOrUpdates, names: m.names, usage: func(ctx context.Context, obj registry.Object) corev1.ResourceList {
		claim := obj.(*resourcev1.ResourceClaim)
		used := corev1.ResourceList{countDeviceClaims: number(1)}
		for i := range claim.Spec.Devices.Requests {
			used = sum(used, devicesAtMost(&claim.Spec.Devices.Requests[i]))
		}
		return m.asExtended(ctx, used, m.chargedToPod(ctx, claim))
	}}
}

// devicesAtMost are the devices of each class that a request may be given. Of alternatives the dearest counts.
func devicesAtMost(r *resourcev1.DeviceRequest) corev1.ResourceList {
	most := corev1.ResourceList{}
	take := func(class string, mode resourcev1.DeviceAllocationMode, count int64) {
		name := corev1.ResourceName(class + corev1.ResourceClaimsPerClass)
		n := int64(0)
		switch mode {
		case resourcev1.DeviceAllocationModeExactCount:
			n = count
		case resourcev1.DeviceAllocationModeAll:
			n = resourcev1.AllocationResultsMaxSize
		}
		q := *resource.NewQuantity(n, resource.DecimalSI)
		if before, ok := most[name]; !ok || q.Cmp(before) > 0 {
			most[name] = q
		}
	}
	for _, sub := range r.FirstAvailable {
		take(sub.DeviceClassName, sub.AllocationMode, sub.Count)
	}
	if e := r.Exactly; e != nil && len(r.FirstAvailable) == 0 {
		take(e.DeviceClassName, e.AllocationMode, e.Count)
	}
	return most
}

// devices knows which device classes are extended resources.
type devices struct {
	objects Objects
	now     func() time.Time
}

func (d devices) names(ctx context.Context, name corev1.ResourceName) bool {
	if name == countDeviceClaims || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass) {
		return true
	}
	if class, ok := strings.CutPrefix(string(name), corev1.ResourceImplicitExtendedClaimsPerClass); ok {
		return d.extendedName(ctx, class) != ""
	}
	return isExtendedQuota(name) && d.isExtended(ctx, strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix))
}

// extendedName is the extended resource that the devices of a class are; empty if they are none.
func (d devices) extendedName(ctx context.Context, class string) string {
	found, err := d.objects.Get(ctx, resourcev1.GroupName, "deviceclasses", "", class)
	if err != nil {
		return ""
	}
	return ptr.Deref(found.(*resourcev1.DeviceClass).Spec.ExtendedResourceName, "")
}

// isExtended tells whether there is a class of devices that are this extended resource.
func (d devices) isExtended(ctx context.Context, resource string) bool {
	classes, err := d.objects.List(ctx, resourcev1.GroupName, "deviceclasses", "")
	return err == nil && slices.ContainsFunc(classes, func(o registry.Object) bool {
		return ptr.Deref(o.(*resourcev1.DeviceClass).Spec.ExtendedResourceName, "") == resource
	})
}

// asExtended adds devices by the names of extended resources, less what is charged elsewhere.
func (d devices) asExtended(ctx context.Context, used, charged corev1.ResourceList) corev1.ResourceList {
	extended := corev1.ResourceList{}
	for name, q := range used {
		class, ok := strings.CutSuffix(string(name), corev1.ResourceClaimsPerClass)
		if !ok || class == "" {
			continue
		}
		extended[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] = q
		if resource := d.extendedName(ctx, class); resource != "" {
			extended[corev1.ResourceName(corev1.DefaultResourceRequestsPrefix+resource)] = q
		}
	}
	return sum(used, growth(extended, charged))
}

// chargedToPod is what the pod is charged for that a claim was made on behalf of: one that asks for devices as an
// extended resource. Only the claim that the pod's status names has this benefit, or the oldest while it names none.
func (d devices) chargedToPod(ctx context.Context, claim *resourcev1.ResourceClaim) corev1.ResourceList {
	owner := extendedOwner(claim)
	if owner == nil {
		return nil
	}
	found, err := d.objects.Get(ctx, "", "pods", claim.Namespace, owner.Name)
	if err != nil || found.GetUID() != owner.UID {
		return nil
	}
	pod := found.(*corev1.Pod)
	if named := pod.Status.ExtendedResourceClaimStatus; named != nil {
		if named.ResourceClaimName != claim.Name {
			return nil
		}
	} else if !d.isOldest(ctx, claim, owner) {
		return nil
	}
	return podUsage(pod, d.now())
}

// extendedOwner is the pod that a claim for an extended resource was made for; nil if it is another kind of claim.
func extendedOwner(claim *resourcev1.ResourceClaim) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(claim)
	if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" {
		return nil
	}
	return owner
}

func (d devices) isOldest(ctx context.Context, claim *resourcev1.ResourceClaim, owner *metav1.OwnerReference) bool {
	all, err := d.objects.List(ctx, resourcev1.GroupName, "resourceclaims", claim.Namespace)
	return err == nil && !slices.ContainsFunc(all, func(o registry.Object) bool {
		other := o.(*resourcev1.ResourceClaim)
		if its := extendedOwner(other); its == nil || its.UID != owner.UID {
			return false
		}
		age := other.CreationTimestamp.Compare(claim.CreationTimestamp.Time)
		return age < 0 || age == 0 && other.Name < claim.Name
	})
}
