package store

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Selection is what a LIST or watch wants to see; the zero value is everything.
type Selection struct {
	Namespace string
	Name      string
	Labels    labels.Selector // nil selects everything
	Fields    fields.Selector // on Config.Fields, metadata.name and metadata.namespace; nil selects everything
}

// filter is a Selection made ready for many entries.
type filter struct {
	namespace, name string
	labels          labels.Selector
	fields          []fieldTerm
	namespaced      bool // the resource is
	// selective tells that selectors are set: such a list does not say how many items remain.
	selective bool
}

// A fieldTerm is a field selector's requirement on one field, which is found by its place among an entry's attributes.
type fieldTerm struct {
	place int // in Config.Fields; below zero for the key's parts
	value string
	equal bool // the value is wanted, or any other
}

// Places of the key's parts.
const (
	namePlace      = -1
	namespacePlace = -2
)

// fieldTerms are a selector's requirements; all have to be met. Fields that the resource does not have are empty.
func (s *Store) fieldTerms(sel fields.Selector) []fieldTerm {
	var terms []fieldTerm
	for _, r := range sel.Requirements() {
		t := fieldTerm{value: r.Value, equal: r.Operator != selection.NotEquals, place: len(s.Fields)}
		switch i, ok := s.fieldIndex[r.Field]; {
		case r.Field == nameField:
			t.place = namePlace
		case r.Field == namespaceField:
			t.place = namespacePlace
		case ok:
			t.place = i
		}
		terms = append(terms, t)
	}
	return terms
}

// meets reports whether an entry has what the term wants.
func (t *fieldTerm) meets(e *Entry) bool {
	var has string
	switch {
	case t.place == namePlace:
		has = e.Name
	case t.place == namespacePlace:
		has = e.Namespace
	case t.place < len(e.store.Fields) && t.place < e.attrs.count():
		has = e.attrs.at(t.place)
	}
	return (has == t.value) == t.equal
}

// exact is the one value that the filter wants of a field.
func (f *filter) exact(place int) (string, bool) {
	for _, t := range f.fields {
		if t.place == place && t.equal {
			return t.value, true
		}
	}
	return "", false
}

func (s *Store) newFilter(sel Selection) filter {
	f := filter{namespace: sel.Namespace, name: sel.Name, namespaced: s.Namespaced}
	if sel.Labels != nil && !sel.Labels.Empty() {
		f.labels = sel.Labels
	}
	if sel.Fields != nil && !sel.Fields.Empty() {
		f.fields = s.fieldTerms(sel.Fields)
		// A selector of one name or namespace is also a place in the tree and in the index of watchers. The selector
		// itself stays: it may contradict the place, or itself.
		if name, ok := sel.Fields.RequiresExactMatch(nameField); ok && f.name == "" {
			f.name = name
		}
		if namespace, ok := sel.Fields.RequiresExactMatch(namespaceField); ok && f.namespace == "" {
			f.namespace = namespace
		}
	}
	f.selective = f.labels != nil || f.fields != nil
	return f
}

// wants reports whether e is selected. A nil entry, the state of an object before its creation or after its deletion,
// is not.
func (f *filter) wants(e *Entry) bool {
	switch {
	case e == nil:
		return false
	case f.namespace != "" && e.Namespace != f.namespace:
		return false
	case f.name != "" && e.Name != f.name:
		return false
	case f.labels != nil && !f.labels.Matches(labelsOf(e)):
		return false
	}
	for i := range f.fields {
		if !f.fields[i].meets(e) {
			return false
		}
	}
	return true
}

// span is the range of ranks in root where selected entries can be.
func (f *filter) span(root *node) (from, to int) {
	switch {
	case f.name != "" && (f.namespace != "" || !f.namespaced):
		k := Key{f.namespace, f.name}
		from = root.rank(k)
		return from, min(from+1, root.size())
	case f.namespace != "":
		return root.rank(Key{f.namespace, ""}), root.rank(Key{f.namespace + "0", ""}) // '0' follows '/'
	}
	return 0, root.size()
}

// whole reports that everything in span is selected.
func (f *filter) whole() bool { return f.name == "" && !f.selective }
