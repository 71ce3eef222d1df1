package jsonplan

import (
	"reflect"
	"strings"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// member is a field of a structure, or of one that it embeds.
type member struct {
	name   string
	head   string // "name":
	offset uintptr
	omit   []func(unsafe.Pointer) bool // the field is left out if one of them says so
	plan   *Plan
}

func (x *Plans) structure(f form) step {
	members, ok := x.members(f, 0, nil)
	if !ok {
		return foreign(f)
	}
	return func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		b = append(b, '{')
		first := len(b)
	fields:
		for i := range members {
			m := &members[i]
			at := unsafe.Add(p, m.offset)
			for _, omit := range m.omit {
				if omit(at) {
					continue fields
				}
			}
			if len(b) > first {
				b = append(b, ',')
			}
			b = append(b, m.head...)
			if b, err = m.plan.write(b, at); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

// members appends the fields of a structure that lies offset bytes into the one written. It returns false for what
// encoding/json has rules for that are not kept here.
func (x *Plans) members(f form, offset uintptr, to []member) (_ []member, ok bool) {
	for i := range f.NumField() {
		field := f.Field(i)
		tag := field.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			if to, ok = x.members(form{field.Type, f.addressable}, offset+field.Offset, to); !ok {
				return nil, false
			}
			continue
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Pointer:
			return nil, false
		case !field.IsExported():
			continue
		case name == "":
			name = field.Name
		}
		m := member{name: name, head: string(append(appendString(nil, name), ':')), offset: offset + field.Offset}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "string":
				return nil, false
			case "omitempty":
				if empty := emptiness(field.Type); empty != nil {
					m.omit = append(m.omit, empty)
				}
			case "omitzero":
				m.omit = append(m.omit, zeroness(form{field.Type, f.addressable}))
			}
		}
		for _, other := range to {
			if other.name == name {
				return nil, false // one hides the other
			}
		}
		m.plan = x.plan(form{field.Type, f.addressable})
		to = append(to, m)
	}
	return to, true
}

// emptiness is what omitempty asks; nil for types that are never empty.
func emptiness(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.String:
		return func(p unsafe.Pointer) bool { return *(*string)(p) == "" }
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Int32:
		return func(p unsafe.Pointer) bool { return *(*int32)(p) == 0 }
	case reflect.Int, reflect.Int64:
		return func(p unsafe.Pointer) bool { return *(*int64)(p) == 0 }
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return (*sliceHeader)(p).len == 0 }
	case reflect.Map, reflect.Array:
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().Len() == 0 }
	case reflect.Struct, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128, reflect.Invalid:
		return nil
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}

// zeroness is what omitzero asks: the value's own IsZero, if it has one.
func zeroness(f form) func(unsafe.Pointer) bool {
	if f.Type == reflect.TypeFor[metav1.Time]() {
		return func(p unsafe.Pointer) bool { return (*metav1.Time)(p).IsZero() }
	}
	type judge interface{ IsZero() bool }
	byValue := f.Implements(reflect.TypeFor[judge]())
	byPointer := reflect.PointerTo(f.Type).Implements(reflect.TypeFor[judge]())
	return func(p unsafe.Pointer) bool {
		v := reflect.NewAt(f.Type, p)
		switch {
		case byValue && (f.Kind() == reflect.Pointer || f.Kind() == reflect.Interface) && v.Elem().IsNil():
			return true
		case byValue:
			return v.Elem().Interface().(judge).IsZero()
		case byPointer:
			return v.Interface().(judge).IsZero()
		}
		return v.Elem().IsZero()
	}
}
