// Package jsonplan writes Go values as JSON: the very bytes of encoding/json, several times faster.
//
// encoding/json asks a value's type what to do at every field of every value. Here a type is asked once: its plan is a
// list of steps with the fields' offsets and their names ready to be copied, and a value is written by walking the list
// over its memory. What types of the Kubernetes API do not have (interfaces, arrays, floating-point numbers, names that
// hide each other) is left to encoding/json, and so is text that needs more than copying. So a plan can be slow, but
// not different; the tests compare the two over every kind of the API and over random values.
package jsonplan

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Plans are those of all types met so far. The zero value is ready.
type Plans struct {
	mu     sync.Mutex // guards byType while plans are made
	byType map[form]*Plan
}

// form is a type, and whether its values are met where Go could take their address: methods with a pointer receiver
// are called only there (not for the values of maps).
type form struct {
	reflect.Type
	addressable bool
}

// A Plan writes the values of one type.
type Plan struct{ write step }

// A step appends the JSON of the value at p.
type step func(b []byte, p unsafe.Pointer) ([]byte, error)

// Of is the plan of what t, a pointer's type, points to.
func (x *Plans) Of(t reflect.Type) *Plan {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.plan(form{t.Elem(), true})
}

// Append appends the JSON of *v to b. v is a pointer of the type that the plan is of.
func (p *Plan) Append(b []byte, v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	if value.IsNil() {
		return append(b, "null"...), nil
	}
	return p.write(b, value.UnsafePointer())
}

// plan finds or makes a plan. Types may hold themselves: the plan is known before its step is.
func (x *Plans) plan(f form) *Plan {
	if p := x.byType[f]; p != nil {
		return p
	}
	if x.byType == nil {
		x.byType = map[form]*Plan{}
	}
	p := &Plan{}
	x.byType[f] = p
	p.write = x.step(f)
	return p
}

func (x *Plans) step(f form) step {
	if s := known(f.Type); s != nil {
		return s
	}
	if f.Kind() == reflect.Pointer { // its methods are those of what it points to
		return x.pointer(f)
	}
	if f.writesItself() {
		return foreign(f)
	}
	switch f.Kind() {
	case reflect.Bool:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendBool(b, *(*bool)(p)), nil }
	case reflect.String:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendString(b, *(*string)(p)), nil }
	case reflect.Int, reflect.Int64:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendInt(b, *(*int64)(p), 10), nil }
	case reflect.Int32:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(b, int64(*(*int32)(p)), 10), nil
		}
	case reflect.Slice:
		return x.slice(f)
	case reflect.Map:
		return x.mapping(f)
	case reflect.Struct:
		return x.structure(f)
	}
	return foreign(f)
}

// writesItself reports whether encoding/json would call a method of the value.
func (f form) writesItself() bool {
	for _, method := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if f.Implements(method) || f.addressable && reflect.PointerTo(f.Type).Implements(method) {
			return true
		}
	}
	return false
}

// foreign leaves a value to encoding/json.
func foreign(f form) step {
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		v := reflect.NewAt(f.Type, p)
		if !f.addressable {
			v = v.Elem()
		}
		out, err := json.Marshal(v.Interface())
		return append(b, out...), err
	}
}

// known are types that write themselves in a way that is simple enough to do it for them.
func known(t reflect.Type) step {
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return appendTime(b, (*metav1.Time)(p).Time, time.RFC3339), nil
		}
	case reflect.TypeFor[metav1.MicroTime]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return appendTime(b, (*metav1.MicroTime)(p).Time, metav1.RFC3339Micro), nil
		}
	case reflect.TypeFor[resource.Quantity]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return appendQuantity(b, (*resource.Quantity)(p)), nil
		}
	case reflect.TypeFor[corev1.ResourceList]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return appendResources(b, *(*corev1.ResourceList)(p)), nil
		}
	case reflect.TypeFor[intstr.IntOrString]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			switch v := (*intstr.IntOrString)(p); v.Type {
			case intstr.Int:
				return strconv.AppendInt(b, int64(v.IntVal), 10), nil
			case intstr.String:
				return appendString(b, v.StrVal), nil
			default:
				out, err := json.Marshal(v)
				return append(b, out...), err
			}
		}
	case reflect.TypeFor[metav1.FieldsV1]():
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			v := (*metav1.FieldsV1)(p)
			if isPlainTree(v.Raw) {
				return append(b, v.Raw...), nil
			}
			out, err := json.Marshal(v)
			return append(b, out...), err
		}
	}
	return nil
}

func appendTime(b []byte, t time.Time, layout string) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return append(t.UTC().AppendFormat(append(b, '"'), layout), '"')
}

// appendQuantity writes a number and its unit, in which there is nothing to escape. Both are made behind b.
func appendQuantity(b []byte, q *resource.Quantity) []byte {
	b = append(b, '"')
	number, suffix := q.CanonicalizeBytes(b[len(b):])
	b = append(append(b, number...), suffix...)
	return append(b, '"')
}

// appendResources writes the map that is in every container, without the detour of other maps.
func appendResources(b []byte, list corev1.ResourceList) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	var few [8]corev1.ResourceName
	names := few[:0]
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, string(name)), ':')
		quantity := list[name]
		b = appendQuantity(b, &quantity)
	}
	return append(b, '}')
}

func (x *Plans) pointer(f form) step {
	to := x.plan(form{f.Elem(), true})
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		if p = *(*unsafe.Pointer)(p); p == nil {
			return append(b, "null"...), nil
		}
		return to.write(b, p)
	}
}

// sliceHeader is how Go keeps a slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

func (x *Plans) slice(f form) step {
	of := form{f.Elem(), true}
	if of.Kind() == reflect.Uint8 {
		if of.writesItself() {
			return foreign(f)
		}
		return appendBytes
	}
	each, size := x.plan(of), of.Size()
	return func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		s := (*sliceHeader)(p)
		if s.data == nil {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		for i := range s.len {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = each.write(b, unsafe.Add(s.data, uintptr(i)*size)); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

func appendBytes(b []byte, p unsafe.Pointer) ([]byte, error) {
	s := *(*[]byte)(p)
	if s == nil {
		return append(b, "null"...), nil
	}
	b = base64.StdEncoding.AppendEncode(append(b, '"'), s)
	return append(b, '"'), nil
}

func (x *Plans) mapping(f form) step {
	key, of := f.Key(), form{f.Elem(), false}
	switch {
	case key.Kind() != reflect.String || (form{key, false}).writesItself():
		return foreign(f)
	case f.ConvertibleTo(reflect.TypeFor[map[string]string]()):
		return appendStrings
	}
	value := x.plan(of)
	return func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		m := reflect.NewAt(f.Type, p).Elem()
		if m.IsNil() {
			return append(b, "null"...), nil
		}
		type member struct {
			name  string
			value reflect.Value // a pointer
		}
		members := make([]member, 0, m.Len())
		for all := m.MapRange(); all.Next(); {
			v := reflect.New(of.Type)
			v.Elem().SetIterValue(all)
			members = append(members, member{all.Key().String(), v})
		}
		slices.SortFunc(members, func(a, b member) int {
			if a.name < b.name {
				return -1
			}
			return 1
		})
		b = append(b, '{')
		for i, one := range members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, one.name), ':')
			if b, err = value.write(b, one.value.UnsafePointer()); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

// appendStrings writes a map of strings by strings.
func appendStrings(b []byte, p unsafe.Pointer) ([]byte, error) {
	m := *(*map[string]string)(p)
	if m == nil {
		return append(b, "null"...), nil
	}
	var few [16]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendString(b, m[name])
	}
	return append(b, '}'), nil
}
