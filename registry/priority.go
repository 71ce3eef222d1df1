package registry

import "k8s.io/apimachinery/pkg/runtime/schema"

// Priority is the place of a group's version in discovery: groups of higher priority come first, and within a
// group versions of higher priority. kubectl picks a resource by this order when its name is in several groups.
type Priority struct{ Group, Version int32 }

// CustomPriority is the place of the groups that custom resources make: behind all that is built in.
func CustomPriority() Priority { return Priority{Group: 1000, Version: 100} }

// BuiltinPriority returns the place of a group's version that kube-apiserver 1.36 serves by default; ok is false for
// all others. The numbers are visible in the groups' APIService objects.
func BuiltinPriority(gv schema.GroupVersion) (p Priority, ok bool) {
	for _, b := range builtinGroups() {
		if b.GroupVersion == gv {
			return b.Priority, true
		}
	}
	return Priority{}, false
}

// builtinGroup is a group's version with its place.
type builtinGroup struct {
	schema.GroupVersion
	Priority
}

// builtinGroups are all built-in groups' versions, in the order of discovery.
func builtinGroups() []builtinGroup {
	at := func(group, version string, groupPriority, versionPriority int32) builtinGroup {
		return builtinGroup{schema.GroupVersion{Group: group, Version: version}, Priority{groupPriority, versionPriority}}
	}
	return []builtinGroup{
		// The group that tells of all others is ahead of them, and has no APIService of its own.
		at("apiregistration.k8s.io", "v1", 20001, 0),
		at("", "v1", 18000, 1),
		at("apps", "v1", 17800, 15),
		at("events.k8s.io", "v1", 17750, 15),
		at("authentication.k8s.io", "v1", 17700, 15),
		at("authorization.k8s.io", "v1", 17600, 15),
		at("autoscaling", "v2", 17500, 30),
		at("autoscaling", "v1", 17500, 15),
		at("batch", "v1", 17400, 15),
		at("certificates.k8s.io", "v1", 17300, 15),
		at("networking.k8s.io", "v1", 17200, 15),
		at("policy", "v1", 17100, 15),
		at("rbac.authorization.k8s.io", "v1", 17000, 15),
		at("storage.k8s.io", "v1", 16800, 15),
		at("admissionregistration.k8s.io", "v1", 16700, 15),
		at("apiextensions.k8s.io", "v1", 16700, 15),
		at("scheduling.k8s.io", "v1", 16600, 15),
		at("coordination.k8s.io", "v1", 16500, 15),
		at("node.k8s.io", "v1", 16300, 15),
		at("discovery.k8s.io", "v1", 16200, 15),
		at("resource.k8s.io", "v1", 16200, 21),
		at("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
	}
}
