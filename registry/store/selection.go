package store

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
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
	fields          fields.Selector
	namespaced      bool // the resource is
	// selective tells that selectors are set: such a list does not say how many items remain.
	selective bool
}

func newFilter(sel Selection, namespaced bool) filter {
	f := filter{namespace: sel.Namespace, name: sel.Name, namespaced: namespaced}
	if sel.Labels != nil && !sel.Labels.Empty() {
		f.labels = sel.Labels
	}
	if sel.Fields != nil && !sel.Fields.Empty() {
		f.fields = sel.Fields
		// A selector of one name or namespace is also a place in the tree and in the index of watchers. The selector
		// itself stays: it may contradict the place, or itself.
		if name, ok := f.fields.RequiresExactMatch(nameField); ok && f.name == "" {
			f.name = name
		}
		if namespace, ok := f.fields.RequiresExactMatch(namespaceField); ok && f.namespace == "" {
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
	return f.fields == nil || f.fields.Matches(fieldsOf(e))
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
