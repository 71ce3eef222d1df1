package registry

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
)

// equal compares API values by meaning: quantities by amount, times by instant, nil and empty alike.
func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// sortedKeys gives the iteration over a map an order, so that errors come in one.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// bumpGeneration counts a change of what the user wants: call it with whether the spec differs. old is nil on create.
func bumpGeneration[P interface {
	comparable
	Object
}](obj, old P, changed bool) {
	var none P
	switch {
	case old == none:
		obj.SetGeneration(1)
	case changed:
		obj.SetGeneration(old.GetGeneration() + 1)
	default:
		obj.SetGeneration(old.GetGeneration())
	}
}
