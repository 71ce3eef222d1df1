package store

import "slices"

// index finds the entries with a value of an indexed field (the pods of a node) without a walk over all. It is of the
// state in present. Objects without a value are not in it.
type index map[string][]Key // in key order; a slice never changes

// through returns the entries of p that the filter selects, in key order, where an index leads to them; ok is false where
// none does. s.mu is held, and p is present.
func (s *Store) through(p *present, f *filter) (entries []*Entry, ok bool) {
	at, value := s.indexFor(f)
	if at < 0 || p == nil || p.broken > 0 {
		return nil, false
	}
	if s.indexes[at] == nil {
		s.indexes[at] = indexed(p.root, at)
	}
	for _, k := range s.indexes[at][value] {
		if e := p.root.get(k); f.wants(e) {
			entries = append(entries, e)
		}
	}
	return entries, true
}

// indexFor is the indexed field whose value the filter fixes; below zero if there is none.
func (s *Store) indexFor(f *filter) (at int, value string) {
	for i, field := range s.Fields {
		if field.Indexed {
			if value, ok := f.exact(i); ok && value != "" {
				return i, value
			}
		}
	}
	return -1, ""
}

// indexed reads a whole collection.
func indexed(root *node, at int) index {
	x := index{}
	root.all(func(e *Entry) {
		if value := e.field(at); value != "" {
			x[value] = append(x[value], e.Key)
		}
	})
	return x
}

// reindex takes a change into the indexes that have been asked for. s.mu is held.
func (s *Store) reindex(old, new *Entry) {
	for at, x := range s.indexes {
		before, after := old.field(at), new.field(at)
		if before == after {
			continue
		}
		if before != "" {
			x.drop(before, old.Key)
		}
		if after != "" {
			x.put(after, new.Key)
		}
	}
}

func (x index) put(value string, k Key) {
	keys := x[value]
	if i, found := slices.BinarySearchFunc(keys, k, Key.compare); !found {
		x[value] = slices.Insert(slices.Clip(keys), i, k)
	}
}

func (x index) drop(value string, k Key) {
	keys := x[value]
	i, found := slices.BinarySearchFunc(keys, k, Key.compare)
	switch {
	case !found:
	case len(keys) == 1:
		delete(x, value)
	default:
		x[value] = slices.Concat(keys[:i], keys[i+1:])
	}
}

// field is the value of a selectable field; a nil entry has none.
func (e *Entry) field(at int) string {
	if e == nil || at >= e.attrs.count() {
		return ""
	}
	return e.attrs.at(at)
}
