package server

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// A strategic merge patch says something of a few fields, while what it is merged with, and what comes of it, are maps
// that are made of objects by reflection. So of the object only those fields are made a map that the patch touches: of a
// pod's status that its node reports, neither the spec nor who manages which field.

// touched are the fields of a struct that a patch touches, as reflection finds them: of structs inside, field by field.
// ok is false if the patch is about the struct as a whole.
func (n *fieldNames) touched(t reflect.Type, patch map[string]any) (fields [][]int, ok bool) {
	for key := range patch {
		if strings.HasPrefix(key, "$") { // a directive
			return nil, false
		}
	}
	for i, name := range n.of(t) {
		inner := t.Field(i).Type
		members, some := patch, true
		if name != "" {
			value, named := patch[name]
			if !named {
				continue
			}
			members, some = value.(map[string]any)
		}
		if some = some && isPlainStruct(inner); some {
			var deeper [][]int
			if deeper, some = n.touched(inner, members); some {
				for _, path := range deeper {
					fields = append(fields, append([]int{i}, path...))
				}
			}
		}
		if !some && name != "" {
			fields = append(fields, []int{i})
		}
	}
	return fields, true
}

// isPlainStruct tells structs that JSON shows as their fields.
func isPlainStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]())
}

// copyFields copies fields from one object to another of the same type. Both share what the fields refer to.
func copyFields(to, from registry.Object, fields [][]int) {
	dst, src := reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()
	for _, field := range fields {
		dst.FieldByIndex(field).Set(src.FieldByIndex(field))
	}
}
