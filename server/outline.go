package server

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// The fields that a create makes its manager the owner of follow from the object's outline: which fields are set,
// which keys its maps have, and by what its list items are known; values do not matter. Objects made from one template
// have one outline, so what the field manager worked out for the first (a fifth of a millisecond) holds for all.
//
// An outline is at least as fine as what ownership depends on: two objects with the same outline own the same fields,
// while two that own the same may differ in outline.

// outlines remembers the owned fields (FieldsV1) of outlines, for each door.
type outlines struct {
	mu    sync.Mutex
	known map[door]map[string][]byte
}

// maxOutlines bounds what is remembered of one door; beyond, it begins anew.
const maxOutlines = 256

func (o *outlines) get(d door, outline []byte) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owned, ok := o.known[d][string(outline)]
	return owned, ok
}

func (o *outlines) put(d door, outline, owned []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = map[door]map[string][]byte{}
	}
	if o.known[d] == nil || len(o.known[d]) >= maxOutlines {
		o.known[d] = map[string][]byte{}
	}
	o.known[d][string(outline)] = owned
}

// An outliner draws outlines by the schema that field management goes by.
type outliner struct {
	schema *schema.Schema
	out    []byte
}

// outlineOf draws the outline of an object that t reads as a typed value; v is the object's struct.
func outlineOf(t *typed.TypedValue, v reflect.Value) []byte {
	d := outliner{schema: t.Schema(), out: make([]byte, 0, 1024)}
	d.draw(v, t.TypeRef())
	return d.out
}

// draw adds what matters of a value that is set.
func (d *outliner) draw(v reflect.Value, ref schema.TypeRef) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	atom, ok := d.schema.Resolve(ref)
	switch {
	case !ok, atom.Map != nil && atom.List != nil: // without a schema everything may matter
		d.whole(v)
	case atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic, atom.List != nil && atom.List.ElementRelationship == schema.Atomic:
		// owned as one
	case atom.Map != nil && v.Kind() == reflect.Struct:
		d.fields(v, atom.Map)
	case atom.Map != nil && v.Kind() == reflect.Map:
		d.keys(v, atom.Map)
	case atom.List != nil && v.Kind() == reflect.Slice:
		d.items(v, atom.List)
	case atom.Scalar == nil:
		d.whole(v)
	}
}

// whole adds a value with all that is in it.
func (d *outliner) whole(v reflect.Value) {
	j, err := json.Marshal(v.Interface())
	if err != nil {
		j = []byte(err.Error())
	}
	d.text(string(j))
}

func (d *outliner) text(s string) {
	d.out = binary.AppendUvarint(d.out, uint64(len(s)))
	d.out = append(d.out, s...)
}

// fields adds a struct: for each field whether it is set, and the outline of what is. Fields of embedded structs that
// JSON shows in line count as the struct's own.
func (d *outliner) fields(v reflect.Value, m *schema.Map) {
	t := v.Type()
	for i := range t.NumField() {
		f, value := t.Field(i), v.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if value.IsZero() {
			d.out = append(d.out, 0)
			continue
		}
		d.out = append(d.out, 1)
		switch field, known := m.FindField(name); {
		case name == "" && f.Anonymous:
			if value.Kind() == reflect.Struct {
				d.fields(value, m)
			} else {
				d.whole(value)
			}
		case known:
			d.draw(value, field.Type)
		default:
			d.whole(value)
		}
	}
}

// keys adds a map's keys, in order, each with its value's outline.
func (d *outliner) keys(v reflect.Value, m *schema.Map) {
	keys := make([]string, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		keys = append(keys, it.Key().String())
	}
	slices.Sort(keys)
	d.out = binary.AppendUvarint(d.out, uint64(len(keys)))
	for _, k := range keys {
		d.text(k)
		d.draw(v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key())), m.ElementType)
	}
}

// items adds a list whose items are known by their values (a set) or by some of their fields.
func (d *outliner) items(v reflect.Value, l *schema.List) {
	d.out = binary.AppendUvarint(d.out, uint64(v.Len()))
	for i := range v.Len() {
		item := v.Index(i)
		if len(l.Keys) == 0 {
			d.whole(item)
			continue
		}
		for _, key := range l.Keys {
			d.member(item, key)
		}
		d.draw(item, l.ElementType)
	}
}

// member adds the value of one of an item's fields.
func (d *outliner) member(item reflect.Value, key string) {
	for item.Kind() == reflect.Pointer {
		item = item.Elem()
	}
	t := item.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == key && f.Type.Kind() == reflect.String {
			d.text(item.Field(i).String())
			return
		}
		if name == key {
			d.whole(item.Field(i))
			return
		}
		if name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct {
			if _, ok := f.Type.FieldByName(exported(key)); ok {
				d.member(item.Field(i), key)
				return
			}
		}
	}
	d.whole(item)
}

// exported is the Go name that a JSON name most likely stands for.
func exported(name string) string { return strings.ToUpper(name[:1]) + name[1:] }
