package store

import (
	"encoding/binary"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// attributes are the strings of an entry that selections look at, in one allocation: the values of Config.Fields in
// their order, then label keys and values in turn, sorted by key. The string begins with the number of values and the
// offset of each one's end, four bytes each.
type attributes string

func packAttributes(values []string) attributes {
	if len(values) == 0 {
		return ""
	}
	end := 4 + 4*len(values)
	size := end
	for _, v := range values {
		size += len(v)
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, size), uint32(len(values)))
	for _, v := range values {
		end += len(v)
		b = binary.LittleEndian.AppendUint32(b, uint32(end))
	}
	for _, v := range values {
		b = append(b, v...)
	}
	return attributes(b)
}

// attributesOf takes the attributes out of an object.
func attributesOf(o Object, selectable []Field) attributes {
	set := o.GetLabels()
	values := make([]string, 0, len(selectable)+2*len(set))
	for _, f := range selectable {
		values = append(values, f.Value(o))
	}
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		values = append(values, k, set[k])
	}
	return packAttributes(values)
}

func (a attributes) number(i int) int {
	return int(a[4*i]) | int(a[4*i+1])<<8 | int(a[4*i+2])<<16 | int(a[4*i+3])<<24
}

// count is the number of values.
func (a attributes) count() int {
	if a == "" {
		return 0
	}
	return a.number(0)
}

// at is value i.
func (a attributes) at(i int) string {
	start := 4 + 4*a.number(0)
	if i > 0 {
		start = a.number(i)
	}
	return string(a[start:a.number(i+1)])
}

// labelView shows an entry's labels to a selector.
type labelView Entry

// labelsOf changes the pointer's type only: a selector gets an interface without an allocation.
func labelsOf(e *Entry) labels.Labels { return (*labelView)(e) }

func (v *labelView) Lookup(label string) (string, bool) {
	for i := len(v.store.Fields); i+1 < v.attrs.count(); i += 2 {
		if v.attrs.at(i) == label {
			return v.attrs.at(i + 1), true
		}
	}
	return "", false
}

func (v *labelView) Has(label string) bool {
	_, ok := v.Lookup(label)
	return ok
}

func (v *labelView) Get(label string) string {
	value, _ := v.Lookup(label)
	return value
}

const (
	nameField      = "metadata.name"
	namespaceField = "metadata.namespace"
)
