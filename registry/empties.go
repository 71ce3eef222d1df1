package registry

import (
	"encoding/json"
	"reflect"
)

// Protobuf does not tell an empty list or map from an absent one, and what is stored as protobuf comes back without.
// JSON shows the difference in fields without omitempty (null, or []), and some rules of immutability see it. An object
// that is about to be stored is brought to the form that it will be read in: the answer to the write shows what every
// later read shows, and the next write compares with it.

// emptier turns the empty lists and maps of a value into absent ones.
type emptier func(reflect.Value)

// emptierOf compiles the walk through a type, along those fields only that lead somewhere; nil if none does.
func emptierOf(t reflect.Type) emptier { return compileEmptier(t, map[reflect.Type]bool{}) }

// compileEmptier does not follow a type into itself; open are those under way.
func compileEmptier(t reflect.Type, open map[reflect.Type]bool) emptier {
	if open[t] || marshalsItself(t) {
		return nil
	}
	open[t] = true
	defer delete(open, t)
	switch t.Kind() {
	case reflect.Pointer:
		if inside := compileEmptier(t.Elem(), open); inside != nil {
			return func(v reflect.Value) {
				if !v.IsNil() {
					inside(v.Elem())
				}
			}
		}
	case reflect.Slice:
		if inside := compileEmptier(t.Elem(), open); inside != nil {
			return func(v reflect.Value) {
				for i := range v.Len() {
					inside(v.Index(i))
				}
			}
		}
	case reflect.Struct:
		return compileFields(t, open)
	}
	return nil
}

func compileFields(t reflect.Type, open map[reflect.Type]bool) emptier {
	type step struct {
		field  int
		drop   bool // when it is empty
		inside emptier
	}
	var steps []step
	for i := range t.NumField() {
		f := t.Field(i)
		s := step{field: i, drop: isCollection(f.Type), inside: compileEmptier(f.Type, open)}
		if s.drop || s.inside != nil {
			steps = append(steps, s)
		}
	}
	if steps == nil {
		return nil
	}
	return func(v reflect.Value) {
		for _, s := range steps {
			f := v.Field(s.field)
			if s.drop && f.Len() == 0 && !f.IsNil() {
				f.SetZero()
			} else if s.inside != nil {
				s.inside(f)
			}
		}
	}
}

// isCollection reports a list or map. Bytes are none: protobuf keeps empty ones.
func isCollection(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}

// marshalsItself reports a type whose fields are not what JSON shows (times, quantities).
func marshalsItself(t reflect.Type) bool {
	marshaler := reflect.TypeFor[json.Marshaler]()
	return t.Kind() == reflect.Struct && (t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler))
}
