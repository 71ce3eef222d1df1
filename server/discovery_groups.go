package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/knarr-dev/knarr/registry"
)

// servedGroup is a group with its versions, preferred first.
type servedGroup struct {
	name     string
	versions []servedVersion
}

type servedVersion struct {
	schema.GroupVersion
	priority registry.Priority
	custom   bool // made by custom resources
}

// servedGroups finds the groups of a table's rows, in the order of discovery: by priority, then by name.
func servedGroups(rows []*registry.Resource) []servedGroup {
	versions := map[string][]servedVersion{}
	for _, row := range rows {
		for _, v := range row.Versions {
			gv := schema.GroupVersion{Group: row.Group, Version: v.Name}
			if !slices.ContainsFunc(versions[row.Group], func(s servedVersion) bool { return s.GroupVersion == gv }) {
				versions[row.Group] = append(versions[row.Group], placed(gv))
			}
		}
	}
	var groups []servedGroup
	for name, list := range versions {
		slices.SortFunc(list, func(a, b servedVersion) int {
			return cmp.Or(
				cmp.Compare(b.priority.Version, a.priority.Version),
				version.CompareKubeAwareVersionStrings(b.Version, a.Version))
		})
		groups = append(groups, servedGroup{name, list})
	}
	slices.SortFunc(groups, func(a, b servedGroup) int {
		return cmp.Or(cmp.Compare(b.priority(), a.priority()), cmp.Compare(a.name, b.name))
	})
	return groups
}

func placed(gv schema.GroupVersion) servedVersion {
	if p, ok := registry.BuiltinPriority(gv); ok {
		return servedVersion{GroupVersion: gv, priority: p}
	}
	return servedVersion{GroupVersion: gv, priority: registry.CustomPriority(), custom: true}
}

// priority of a group is the highest that one of its versions claims for it.
func (g servedGroup) priority() int32 {
	highest := int32(0)
	for _, v := range g.versions {
		highest = max(highest, v.priority.Group)
	}
	return highest
}

// storageVersionHash lets storage migrators see that the version in which objects are stored has changed: the
// first eight bytes of the SHA-256 of the stored kind. Resources that share their objects (Event of core and of
// events.k8s.io) share the kind of the row that comes first in the table, as they share its store.
func storageVersionHash(rows []*registry.Resource, row *registry.Resource) string {
	if row.Prefix == "" {
		return ""
	}
	first := rows[slices.IndexFunc(rows, func(r *registry.Resource) bool { return r.Prefix == row.Prefix })]
	kind := first.StoredKind()
	sum := sha256.Sum256([]byte(kind.Group + "/" + kind.Version + "/" + kind.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}
