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

// bumpGeneration counts a change of what the user wants: call it with whether the spec differs.
func bumpGeneration(obj, old Object, changed bool) {
	switch {
	case old == nil:
		obj.SetGeneration(1)
	case changed:
		obj.SetGeneration(old.GetGeneration() + 1)
	default:
		obj.SetGeneration(old.GetGeneration())
	}
}
