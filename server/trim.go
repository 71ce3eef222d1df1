package server

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trimmer cuts off two objects what they have in common. What it has to know of types it looks up once a type. The zero
// value is ready.
type trimmer struct{ known sync.Map }

// A shape is what is known of a struct's type.
type shape struct {
	// transparent structs are made of fields that JSON shows; times and quantities are not.
	transparent bool
	fields      []fieldShape
}

type fieldShape struct {
	kept bool // of the object itself: its kind, identity and managedFields, which the field manager reads
	in   *shape
}

func (x *trimmer) of(t reflect.Type) *shape {
	if s, ok := x.known.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{transparent: true}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == "time" {
			s.transparent = false
		}
		field := fieldShape{kept: isIdentity(t, f.Name)}
		if f.Type.Kind() == reflect.Struct {
			field.in = x.of(f.Type)
		}
		s.fields = append(s.fields, field)
	}
	x.known.Store(t, s)
	return s
}

// isIdentity tells the fields that say which object it is from those of a reference to another (of an Event's, say), which
// are values like all others.
func isIdentity(in reflect.Type, field string) bool {
	if in == reflect.TypeFor[metav1.ObjectMeta]() {
		return field == "UID" || field == "ManagedFields" || field == "ResourceVersion"
	}
	return field == "TypeMeta"
}

// trim clears in both structs what is equal in them, down through structs that stand in place, and reports whether
// nothing else is left. Identity and managedFields are kept.
func (x *trimmer) trim(a, b reflect.Value) (same bool) {
	same = true
	for i, f := range x.of(a.Type()).fields {
		v, w := a.Field(i), b.Field(i)
		switch {
		case f.kept:
		case f.in != nil && f.in.transparent:
			same = x.trim(v, w) && same
		case x.alike(v, w):
			v.SetZero()
			w.SetZero()
		default:
			same = false
		}
	}
	return same
}

// alike reports whether two values of one type are the same on the wire. Quantities and times are compared by what they
// show, not by how they are kept: those that were decoded from different formats differ in that.
func (x *trimmer) alike(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && (a.IsNil() || a.UnsafePointer() == b.UnsafePointer() || x.alike(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !x.alike(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if other := b.MapIndex(it.Key()); !other.IsValid() || !x.alike(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		return x.alikeStructs(a, b)
	case reflect.Interface:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
	return a.Equal(b)
}

func (x *trimmer) alikeStructs(a, b reflect.Value) bool {
	s := x.of(a.Type())
	if !s.transparent {
		return sameOpaque(a, b)
	}
	for i := range s.fields {
		if !x.alike(a.Field(i), b.Field(i)) {
			return false
		}
	}
	return true
}

// sameOpaque compares structs that do not show what they are made of.
func sameOpaque(a, b reflect.Value) bool {
	switch v := a.Interface().(type) {
	case resource.Quantity:
		w := b.Interface().(resource.Quantity)
		return v.Cmp(w) == 0 && v.Format == w.Format || v.String() == w.String()
	case metav1.Time:
		w := b.Interface().(metav1.Time)
		return v.Equal(&w)
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
