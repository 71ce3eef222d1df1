package server

import (
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

// manage attributes what the call changes from live (nil: the object is new) to its field manager. Both objects are of
// the hub version; live is left as it is.
//
// apimachinery's field manager decides; what it has to look at is cut down first. Of a new object it is asked once for
// each outline. Of a changed object it sees only the parts that differ: what is the same changes hands with nobody.
func (c *call) manage(live, obj registry.Object) (registry.Object, error) {
	if live == nil {
		return c.manageNew(obj)
	}
	m, err := c.s.managers.of(c)
	if err != nil {
		return nil, err
	}
	name := managerName(c.fieldManager, c.r)
	if c.version.FromHub != nil || reflect.TypeOf(live) != reflect.TypeOf(obj) {
		return m.UpdateNoErrors(shallowCopy(live), obj, name).(registry.Object), nil
	}
	before, after := shallowCopy(live), shallowCopy(obj)
	same := trim(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem())
	if same && (len(obj.GetManagedFields()) == 0 || sameManagers(live, obj)) {
		obj.SetManagedFields(live.GetManagedFields())
		return obj, nil
	}
	if c.sub == nil && (len(obj.GetManagedFields()) == 0 || sameManagers(live, obj)) {
		// The old object's managers are read from the new one as well: the field manager would look at them twice.
		after.SetManagedFields(live.GetManagedFields())
		before.SetManagedFields(nil)
	}
	after.SetName(live.GetName()) // for the log, should the manager find something wrong
	after.SetNamespace(live.GetNamespace())
	managed := m.UpdateNoErrors(before, after, name).(registry.Object)
	obj.SetManagedFields(managed.GetManagedFields())
	return obj, nil
}

func sameManagers(a, b registry.Object) bool {
	return equality.Semantic.DeepEqual(a.GetManagedFields(), b.GetManagedFields())
}

// manageNew attributes all fields of a new object.
func (c *call) manageNew(obj registry.Object) (registry.Object, error) {
	m, err := c.s.managers.of(c)
	if err != nil {
		return nil, err
	}
	d := door{c.row, c.version.Name, c.Subresource}
	var outline []byte
	if m.typed != nil && c.sub == nil && c.version.FromHub == nil && len(obj.GetManagedFields()) == 0 {
		outline = c.s.outlines.of(m.typed, reflect.ValueOf(obj).Elem())
	}
	name := managerName(c.fieldManager, c.r)
	if outline != nil {
		if owned, ok := c.s.outlines.get(d, outline); ok {
			obj.SetManagedFields(ownedBy(name, c, owned))
			return obj, nil
		}
	}
	empty := c.row.New()
	if c.sub != nil && c.sub.New != nil {
		empty = c.sub.New()
		empty.GetObjectKind().SetGroupVersionKind(c.sub.Kind)
	}
	out := m.UpdateNoErrors(empty, obj, name).(registry.Object)
	if entries := out.GetManagedFields(); outline != nil && len(entries) <= 1 {
		var owned []byte
		if len(entries) == 1 {
			owned = slices.Clone(entries[0].FieldsV1.GetRawBytes())
		}
		c.s.outlines.put(d, outline, owned)
	}
	return out, nil
}

// ownedBy are the managedFields of an object that one manager has just created.
func ownedBy(manager string, c *call, owned []byte) []metav1.ManagedFieldsEntry {
	if owned == nil {
		return nil
	}
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(owned)
	return []metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate,
		APIVersion: groupVersion(c.row.Group, c.version.Name), Time: &now, FieldsType: "FieldsV1", FieldsV1: fields, Subresource: c.Subresource}}
}

// trim clears in both structs what is equal in them, down through structs that stand in place, and reports whether
// nothing else is left. Identity and managedFields are kept: the field manager reads them.
func trim(a, b reflect.Value) (same bool) {
	same = true
	t := a.Type()
	for i := range t.NumField() {
		f, x, y := t.Field(i), a.Field(i), b.Field(i)
		switch {
		case f.Name == "TypeMeta", f.Name == "UID", f.Name == "ManagedFields", f.Name == "ResourceVersion":
		case f.Type.Kind() == reflect.Struct && transparent(f.Type):
			same = trim(x, y) && same
		case alike(x, y):
			x.SetZero()
			y.SetZero()
		default:
			same = false
		}
	}
	return same
}

// alike reports whether two values of one type are the same on the wire. Quantities and times are compared by what they
// show, not by how they are kept: those that were decoded from different formats differ in that.
func alike(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Pointer:
		return x.IsNil() == y.IsNil() && (x.IsNil() || alike(x.Elem(), y.Elem()))
	case reflect.Slice:
		if x.IsNil() != y.IsNil() || x.Len() != y.Len() {
			return false
		}
		for i := range x.Len() {
			if !alike(x.Index(i), y.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if x.IsNil() != y.IsNil() || x.Len() != y.Len() {
			return false
		}
		for it := x.MapRange(); it.Next(); {
			if other := y.MapIndex(it.Key()); !other.IsValid() || !alike(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		return alikeStructs(x, y)
	case reflect.Interface:
		return reflect.DeepEqual(x.Interface(), y.Interface())
	}
	return x.Equal(y)
}

func alikeStructs(x, y reflect.Value) bool {
	switch a := x.Interface().(type) {
	case resource.Quantity:
		b := y.Interface().(resource.Quantity)
		return a.String() == b.String()
	case metav1.Time:
		b := y.Interface().(metav1.Time)
		return a.Equal(&b)
	}
	if !transparent(x.Type()) {
		return reflect.DeepEqual(x.Interface(), y.Interface())
	}
	for i := range x.NumField() {
		if !alike(x.Field(i), y.Field(i)) {
			return false
		}
	}
	return true
}

// transparent reports whether a struct is made of fields that JSON shows; times and quantities are not.
func transparent(t reflect.Type) bool {
	for i := range t.NumField() {
		if !t.Field(i).IsExported() || t.Field(i).Anonymous && t.Field(i).Type.Kind() == reflect.Struct && t.Field(i).Type.PkgPath() == "time" {
			return false
		}
	}
	return true
}
