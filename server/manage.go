package server

import (
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
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
	same := c.s.trimmer.trim(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem())
	if same && (len(obj.GetManagedFields()) == 0 || sameManagers(live, obj)) {
		obj.SetManagedFields(live.GetManagedFields())
		return obj, nil
	}
	if c.sub == nil && (len(obj.GetManagedFields()) == 0 || sameManagers(live, obj)) {
		// The old object's managers are read from the new one as well: the field manager would look at them twice.
		after.SetManagedFields(live.GetManagedFields())
		before.SetManagedFields(nil)
		ask := func(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
			changed := shallowCopy(after)
			changed.SetManagedFields(entries)
			return m.UpdateNoErrors(shallowCopy(before), changed, name).(registry.Object).GetManagedFields()
		}
		d := door{c.row, c.version.Name, ""}
		if entries, ok := c.s.handovers.managersAfter(d, name, before, after, live.GetManagedFields(), ask); ok {
			obj.SetManagedFields(entries)
			return obj, nil
		}
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
