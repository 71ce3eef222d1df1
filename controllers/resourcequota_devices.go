package controllers

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// deviceUse measures claims for devices: their number, and the devices of each class that they may be given at most.
// Devices of a class that stands for an extended resource are bounded by the names of that resource as well, as far as the
// pod for which the claim was made is not charged for them.
type deviceUse struct{ claims, classes, pods *Source }

const countClaims corev1.ResourceName = "count/resourceclaims.resource.k8s.io"

func (x *deviceUse) meter() quotaMeter {
	return quotaMeter{names: x.names, usage: func(o metav1.Object, now time.Time) corev1.ResourceList {
		return x.usage(o.(*resourcev1.ResourceClaim), now)
	}}
}

func (x *deviceUse) names(name corev1.ResourceName) bool {
	if name == countClaims || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass) {
		return true
	}
	if class, implicit := strings.CutPrefix(string(name), corev1.ResourceImplicitExtendedClaimsPerClass); implicit {
		return x.extended(class) != ""
	}
	of, bounds := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return bounds && boundsExtended(name) && slices.ContainsFunc(x.classes.all(""), func(o metav1.Object) bool {
		return ptr.Deref(o.(*resourcev1.DeviceClass).Spec.ExtendedResourceName, "") == of
	})
}

// extended is the extended resource for which a class stands; empty if it does for none.
func (x *deviceUse) extended(class string) string {
	if c, there := x.classes.cached(Key{Name: class}).(*resourcev1.DeviceClass); there {
		return ptr.Deref(c.Spec.ExtendedResourceName, "")
	}
	return ""
}

func (x *deviceUse) usage(claim *resourcev1.ResourceClaim, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{}
	for i := range claim.Spec.Devices.Requests {
		for class, n := range devicesAtMost(&claim.Spec.Devices.Requests[i]) {
			addQuantities(used, corev1.ResourceList{corev1.ResourceName(class + corev1.ResourceClaimsPerClass): quotaNumber(int(n))})
		}
	}
	charged, also := x.charged(claim, now), corev1.ResourceList{}
	for name, q := range used {
		class := strings.TrimSuffix(string(name), corev1.ResourceClaimsPerClass)
		if class == "" {
			continue
		}
		also[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] = q.DeepCopy()
		if resource := x.extended(class); resource != "" {
			also[corev1.ResourceName(corev1.DefaultResourceRequestsPrefix+resource)] = q.DeepCopy()
		}
	}
	for name, q := range also {
		if q.Sub(charged[name]); q.Sign() > 0 {
			used[name] = q
		}
	}
	used[countClaims] = quotaNumber(1)
	return used
}

// devicesAtMost is the number of devices of each class that a request may be given. Of alternatives the largest counts.
func devicesAtMost(r *resourcev1.DeviceRequest) map[string]int64 {
	most := map[string]int64{}
	take := func(class string, mode resourcev1.DeviceAllocationMode, count int64) {
		switch mode {
		case resourcev1.DeviceAllocationModeExactCount:
			most[class] = max(most[class], count)
		case resourcev1.DeviceAllocationModeAll:
			most[class] = max(most[class], resourcev1.AllocationResultsMaxSize)
		}
	}
	for _, one := range r.FirstAvailable {
		take(one.DeviceClassName, one.AllocationMode, one.Count)
	}
	if len(r.FirstAvailable) == 0 && r.Exactly != nil {
		take(r.Exactly.DeviceClassName, r.Exactly.AllocationMode, r.Exactly.Count)
	}
	return most
}

// charged is what the pod uses for whose extended resources a claim was made: if it is really the pod's, or the first
// that says so.
func (x *deviceUse) charged(claim *resourcev1.ResourceClaim, now time.Time) corev1.ResourceList {
	owner := extendedClaimOwner(claim)
	if owner == nil {
		return nil
	}
	p, there := x.pods.cached(Key{claim.Namespace, owner.Name}).(*corev1.Pod)
	if !there || p.UID != owner.UID {
		return nil
	}
	if s := p.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != claim.Name {
		return nil
	} else if s == nil && slices.ContainsFunc(x.claims.all(claim.Namespace), func(o metav1.Object) bool {
		other := o.(*resourcev1.ResourceClaim)
		its := extendedClaimOwner(other)
		return its != nil && its.UID == owner.UID &&
			cmp.Or(other.CreationTimestamp.Compare(claim.CreationTimestamp.Time), strings.Compare(other.Name, claim.Name)) < 0
	}) {
		return nil
	}
	return podUse(p, now)
}

// extendedClaimOwner is the pod for whose extended resources a claim was made; nil if it was not.
func extendedClaimOwner(claim *resourcev1.ResourceClaim) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(claim)
	if owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" || claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" {
		return nil
	}
	return owner
}
