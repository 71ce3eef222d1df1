package store

import (
	"slices"
	"sync"
)

// wakes knows which watchers an event concerns. A watcher stands in one place, the narrowest that its selection allows:
// one object, one value of an indexed field, one namespace, or everything. An event wakes the watchers at its own
// places, before and after the change, and nobody else.
type wakes struct {
	mu        sync.Mutex
	all       sleepers
	objects   map[Key]*sleepers // Namespace is empty for a name in any namespace
	namespace map[string]*sleepers
	fields    []indexedField
	watchers  int
}

type indexedField struct {
	at     int // its number in Config.Fields
	values map[string]*sleepers
}

// sleepers are the watchers at one place.
type sleepers struct{ list []*Watcher }

func (x *wakes) init(fields []Field) {
	x.objects, x.namespace = map[Key]*sleepers{}, map[string]*sleepers{}
	for i, f := range fields {
		if f.Indexed {
			x.fields = append(x.fields, indexedField{i, map[string]*sleepers{}})
		}
	}
}

// add puts w at its place; it returns how to take it away.
func (x *wakes) add(w *Watcher) (remove func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watchers++
	f := &w.filter
	switch {
	case f.name != "":
		return enlist(x, x.objects, Key{f.namespace, f.name}, w)
	case f.fields != nil:
		for i := range x.fields {
			if value, ok := f.exact(x.fields[i].at); ok {
				return enlist(x, x.fields[i].values, value, w)
			}
		}
	}
	if f.namespace != "" {
		return enlist(x, x.namespace, f.namespace, w)
	}
	x.all.list = append(x.all.list, w)
	return func() { x.delist(&x.all, w) }
}

func enlist[K comparable](x *wakes, places map[K]*sleepers, place K, w *Watcher) (remove func()) {
	at := places[place]
	if at == nil {
		at = new(sleepers)
		places[place] = at
	}
	at.list = append(at.list, w)
	return func() {
		if x.delist(at, w) == 0 && places[place] == at {
			x.mu.Lock()
			defer x.mu.Unlock()
			if len(at.list) == 0 && places[place] == at {
				delete(places, place)
			}
		}
	}
}

// delist removes w and returns how many remain at its place.
func (x *wakes) delist(at *sleepers, w *Watcher) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i := slices.Index(at.list, w); i >= 0 {
		last := len(at.list) - 1
		at.list[i] = at.list[last]
		at.list[last] = nil
		at.list = at.list[:last]
		x.watchers--
	}
	return len(at.list)
}

// wake tells the watchers of a batch, the first change of which has the number first.
func (x *wakes) wake(batch []*change, first int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all.wake(first)
	if x.watchers == len(x.all.list) {
		return
	}
	for i, c := range batch {
		x.wakeFor(c, first+int64(i))
	}
}

func (x *wakes) wakeFor(c *change, number int64) {
	e := c.new
	if e == nil {
		e = c.old
	}
	x.objects[e.Key].wake(number)
	if e.Namespace != "" {
		x.objects[Key{Name: e.Name}].wake(number)
		x.namespace[e.Namespace].wake(number)
	}
	for i := range x.fields {
		f := &x.fields[i]
		if len(f.values) == 0 {
			continue
		}
		if c.new != nil {
			f.values[c.new.attrs.at(f.at)].wake(number)
		}
		if c.old != nil {
			f.values[c.old.attrs.at(f.at)].wake(number)
		}
	}
}

// wakeAll tells everybody to look at the ring from where they are, after a gap.
func (x *wakes) wakeAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all.wake(-1)
	for _, at := range x.objects {
		at.wake(-1)
	}
	for _, at := range x.namespace {
		at.wake(-1)
	}
	for i := range x.fields {
		for _, at := range x.fields[i].values {
			at.wake(-1)
		}
	}
}

func (at *sleepers) wake(number int64) {
	if at == nil {
		return
	}
	for _, w := range at.list {
		w.poke(number)
	}
}
