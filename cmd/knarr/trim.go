package main

import (
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// trimmer makes what informers keep small. What they keep is read by many and written to by nobody, so that equal things
// can be one: objects of one owner are alike in most of what they hold, be it a name, a volume or a list of resources.
type trimmer struct {
	mu   sync.Mutex
	last map[likeness]reflect.Value // the object seen last
}

// likeness is what objects have in common that are worth comparing.
type likeness struct {
	kind  reflect.Type
	owner types.UID // of the controller; empty: none
	phase corev1.PodPhase
}

// mostLikenesses are how many objects to compare with are remembered; then it begins anew.
const mostLikenesses = 4096

// trim drops what no part looks at and what is a third of many objects, and shares the rest with an object like it.
func (t *trimmer) trim(o any) (any, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return o, nil
	}
	if len(m.GetManagedFields()) == 0 {
		return o, nil // trimmed already, as client-go does with what a watch begins with: parts of it are others' by now
	}
	m.SetManagedFields(nil)
	key := likeness{kind: reflect.TypeOf(o)}
	if by := metav1.GetControllerOfNoCopy(m); by != nil {
		key.owner = by.UID
	}
	if p, ok := o.(*corev1.Pod); ok {
		key.phase = p.Status.Phase
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := reflect.ValueOf(o).Elem()
	if last, ok := t.last[key]; ok {
		share(v, last)
	}
	if t.last == nil || len(t.last) >= mostLikenesses {
		t.last = map[likeness]reflect.Value{}
	}
	t.last[key] = v
	return o, nil
}

// share has v refer to the same strings, lists, maps and structs as a value like it, wherever they are equal, and reports
// whether all is. What has no equal takes no more room than it needs.
func share(v, like reflect.Value) (equal bool) {
	switch v.Kind() {
	case reflect.String:
		if equal = v.String() == like.String(); equal {
			v.Set(like)
		}
		return equal
	case reflect.Struct:
		if !isOpen(v.Type()) {
			return reflect.DeepEqual(v.Interface(), like.Interface())
		}
		equal = true
		for i := range v.NumField() {
			equal = share(v.Field(i), like.Field(i)) && equal
		}
		return equal
	case reflect.Pointer:
		if v.IsNil() || like.IsNil() {
			return v.IsNil() == like.IsNil()
		}
		if equal = share(v.Elem(), like.Elem()); equal {
			v.Set(like)
		}
		return equal
	case reflect.Slice:
		return shareSlice(v, like)
	case reflect.Map:
		if equal = reflect.DeepEqual(v.Interface(), like.Interface()); equal {
			v.Set(like)
		}
		return equal
	}
	return reflect.DeepEqual(v.Interface(), like.Interface())
}

func shareSlice(v, like reflect.Value) bool {
	equal := v.Len() == like.Len() && v.IsNil() == like.IsNil()
	switch v.Type().Elem().Kind() {
	case reflect.Struct, reflect.String, reflect.Pointer, reflect.Map, reflect.Slice:
		for i := range min(v.Len(), like.Len()) {
			equal = share(v.Index(i), like.Index(i)) && equal
		}
	default: // bytes, mostly
		equal = equal && reflect.DeepEqual(v.Interface(), like.Interface())
	}
	switch {
	case equal:
		v.Set(like)
	case v.Cap() > v.Len():
		exact := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(exact, v)
		v.Set(exact)
	}
	return equal
}

// isOpen tells structs whose fields can all be set.
func isOpen(t reflect.Type) bool {
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return false
		}
	}
	return true
}
