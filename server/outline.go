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
	names fieldNames
}

const (
	// maxOutlines bounds what is remembered of one door; beyond, it begins anew.
	maxOutlines = 256
	// maxOutline is the most bytes of an outline that is remembered. Templates make small ones; a large one is of an object
	// with thousands of keys, whose like will hardly come again.
	maxOutline = 16 << 10
)

func (o *outlines) get(d door, outline []byte) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owned, ok := o.known[d][string(outline)]
	return owned, ok
}

func (o *outlines) put(d door, outline, owned []byte) {
	if len(outline) > maxOutline {
		return
	}
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
	names  *fieldNames
	out    []byte
}

// of draws the outline of an object that t reads as a typed value; v is the object's struct.
func (o *outlines) of(t *typed.TypedValue, v reflect.Value) []byte {
	d := outliner{schema: t.Schema(), names: &o.names, out: make([]byte, 0, 1024)}
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
		// Owned as one. What is written as empty may not count as set.
		if d.isEmpty(v) {
			d.out = append(d.out, 0)
		} else {
			d.out = append(d.out, 1)
		}
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

// isEmpty reports whether a value shows nothing in JSON.
func (d *outliner) isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		j, err := json.Marshal(v.Interface())
		return err == nil && string(j) == "{}"
	}
	return false
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

// fields adds a struct: for each field whether it is set, and the outline of what is. A list or map without items is
// neither: JSON leaves it out or shows it, and nobody owns what it leaves out. Fields of embedded structs that JSON shows
// in line count as the struct's own.
func (d *outliner) fields(v reflect.Value, m *schema.Map) {
	for i, name := range d.names.of(v.Type()) {
		value := v.Field(i)
		if value.IsZero() {
			d.out = append(d.out, 0)
			continue
		}
		if k := value.Kind(); (k == reflect.Slice || k == reflect.Map) && value.Len() == 0 {
			d.out = append(d.out, 2)
			continue
		}
		d.out = append(d.out, 1)
		switch field, known := m.FindField(name); {
		case name == "" && value.Kind() == reflect.Struct:
			d.fields(value, m)
		case known:
			d.draw(value, field.Type)
		default:
			d.whole(value)
		}
	}
}

// fieldNames remembers what the fields of structs are called: reflection is slow to tell.
type fieldNames struct{ types sync.Map } // reflect.Type -> []string

// of are the names of a struct's fields in JSON; empty for embedded structs that JSON shows in line.
func (n *fieldNames) of(t reflect.Type) []string {
	if known, ok := n.types.Load(t); ok {
		return known.([]string)
	}
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	n.types.Store(t, names)
	return names
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
	if i := slices.Index(d.names.of(item.Type()), key); i >= 0 && item.Field(i).Kind() == reflect.String {
		d.text(item.Field(i).String())
	} else if i >= 0 {
		d.whole(item.Field(i))
	} else {
		d.whole(item) // the key stands in a struct in line: everything may matter
	}
}
