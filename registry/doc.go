// Package registry is what exists: the table of resources, and their objects.
//
// A Resource is a row. It says everything in which one resource differs from another: names, versions, scope,
// sub-resources, and the hooks that default, normalize, prepare, validate and print its objects. All mechanism
// (routing, discovery, storage keys, tables, patching) lives elsewhere and reads the row. An absent hook means that
// nothing happens there; an absent row means that the resource does not exist.
//
// A kind has one file, named after it, with one function that returns its row, written with the typed form Kind[P]:
//
//	func configMap() *Resource {
//		return Kind[*corev1.ConfigMap]{
//			Resource: Resource{Plural: "configmaps", ...},
//			Validate: validateConfigMap,
//		}.row()
//	}
//
// The stable versioned Go type of k8s.io/api is the only type of a kind. Where a kind is served in two versions, the
// stored one is the hub, and a Version converts to it and back.
//
// The way of an object that is created: decoded, Default, Normalize, admission, system fields, Begin, Prepare,
// Validate, Canonicalize, stored. An update runs the same inside the store's compare-and-swap loop, with the old object beside.
// Bytes read from etcd run through Default, Normalize and Repair once, when the watch cache takes them in.
//
// The table is filled by Builtin and may grow and shrink while the server runs (custom and aggregated resources).
// Package registry imports none of server, auth, admission, controllers, scheduler and nodeagent.
package registry
