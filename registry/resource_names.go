package registry

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// What the name of a compute or quota resource says about it. A name without a slash, or one in kubernetes.io, is
// native: its meaning is Kubernetes' own. All others are extended resources, counted in whole units, never
// overcommitted, and opaque.

const quotaRequestPrefix = corev1.DefaultResourceRequestsPrefix

// IsNativeResource says whether the meaning of the name is Kubernetes' own.
func IsNativeResource(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtendedResource is about names of others. It also requires that quota can name the resource, which it does with a prefix.
func IsExtendedResource(name corev1.ResourceName) bool {
	if IsNativeResource(name) || strings.HasPrefix(string(name), quotaRequestPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(quotaRequestPrefix+string(name))) == 0
}

func isHugePageResource(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isHugePageMultiple says whether q is a whole number of the pages that name is about. A name without a page size of
// whole, positive bytes has no multiples.
func isHugePageMultiple(name corev1.ResourceName, q resource.Quantity) bool {
	page, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || page.Sign() <= 0 || page.MilliValue()%1000 != 0 {
		return false
	}
	return q.Value()%page.Value() == 0
}

// isOvercommittable says whether a limit may be above its request.
func isOvercommittable(name corev1.ResourceName) bool {
	return IsNativeResource(name) && !isHugePageResource(name)
}

// isContainerResource is about the native resources that a container may ask for.
func isContainerResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return isHugePageResource(name)
}

// isCountedResource is about the objects that quota counts.
func isCountedResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return false
}

// isQuotaResource is about the native resources that a ResourceQuota may bound.
func isQuotaResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourceRequestsStorage:
		return true
	}
	return isCountedResource(name) || isHugePageResource(name) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// isStandardResource is about all native resources.
func isStandardResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceStorage || isQuotaResource(name)
}

// isIntegerResource says whether amounts are whole numbers.
func isIntegerResource(name corev1.ResourceName) bool {
	return isCountedResource(name) || IsExtendedResource(name)
}
