package store

// Extent is how many objects a list of a namespace, or of everything (""), has at most, and about how many bytes they
// take: their number is exact, their size the average one. Both are 0 until the cache has been filled.
func (s *Store) Extent(namespace string) (objects, bytes int64) {
	p := s.present.Load()
	if p == nil || p.root.size() == 0 {
		return 0, 0
	}
	all := p.root.size()
	f := filter{namespace: namespace, namespaced: s.Namespaced}
	from, to := f.span(p.root)
	return int64(to - from), int64(float64(p.bytes) / float64(all) * float64(to-from))
}

// Audience is how many watchers a change of the object under k would wake; of an object without a name yet, those of
// its namespace. Watchers by indexed fields are left out: what they ask for is not known before the change is.
func (s *Store) Audience(k Key) int {
	if s.stats.watches.Load() == 0 {
		return 0
	}
	return s.wakes.count(k)
}

// count counts the watchers at an object's places.
func (x *wakes) count(k Key) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := len(x.all.list)
	if n == x.watchers {
		return n
	}
	if k.Name != "" {
		n += x.objects[k].count()
	}
	if k.Namespace != "" {
		n += x.namespace[k.Namespace].count()
		if k.Name != "" {
			n += x.objects[Key{Name: k.Name}].count()
		}
	}
	return n
}

func (at *sleepers) count() int {
	if at == nil {
		return 0
	}
	return len(at.list)
}
