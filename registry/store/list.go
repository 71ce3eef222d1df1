package store

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ListOptions say what a LIST wants to see, how fresh, and how much of it.
type ListOptions struct {
	Selection
	ResourceVersion string
	Match           metav1.ResourceVersionMatch
	Limit           int64
	Continue        string
}

// List is an answer: the objects in key order as blocks, at one revision.
type List struct {
	Revision  Revision
	Continue  string
	Remaining *int64
	Blocks    []Block
}

// Block is a run of neighbours in key order.
type Block struct {
	Entries []*Entry
	leaf    *node // whose entries these are, all of them; nil if the selection cut the run
}

// Memo returns what make made of the block, which is kept under slot until one of the block's objects changes.
// Blocks cut short by a selection keep nothing.
func (b Block) Memo(slot int, make func([]*Entry) ([]byte, error)) ([]byte, error) {
	if b.leaf == nil {
		return make(b.Entries)
	}
	return b.leaf.memos.get(slot, func() ([]byte, error) { return make(b.Entries) })
}

// Get returns the object under k: the latest if resourceVersion is "", any known state if it is "0", one at least as new
// otherwise.
func (s *Store) Get(ctx context.Context, k Key, resourceVersion string) (*Entry, error) {
	need, err := planGet(resourceVersion, s.Uncached)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, need); err != nil {
		return nil, err
	}
	if e := s.cached(k); e != nil {
		return e, e.check()
	}
	return nil, s.notFound(k)
}

// List returns the selected objects. See rules.go for what is waited for and from which revision it is answered.
func (s *Store) List(ctx context.Context, o ListOptions) (*List, error) {
	plan, err := planList(o, s.Uncached)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, plan.wait); err != nil {
		return nil, err
	}
	f := s.newFilter(o.Selection)
	if plan.exact == 0 && plan.limit == 0 && plan.start == "" {
		if list := s.listThrough(&f); list != nil {
			s.stats.lists.Add(1)
			return list, nil
		}
	}
	p, revision := s.view()
	if plan.exact != 0 {
		revision = plan.exact
		if p, err = s.at(ctx, revision); err != nil {
			return nil, expiredList(err, plan, o.Continue != "")
		}
	}
	if p.broken > 0 {
		if err := f.checkAll(p.root); err != nil {
			return nil, err
		}
	}
	s.stats.lists.Add(1)
	return s.assemble(p, revision, f, plan), nil
}

// listThrough is the whole answer where an index leads to it; else nil.
func (s *Store) listThrough(f *filter) *List {
	if at, _ := s.indexFor(f); at < 0 {
		return nil
	}
	s.mu.Lock()
	p, revision := s.view()
	entries, ok := s.through(p, f)
	s.mu.Unlock()
	switch {
	case !ok:
		return nil
	case len(entries) == 0:
		return &List{Revision: revision}
	}
	return &List{Revision: revision, Blocks: []Block{{Entries: entries}}}
}

// assemble walks the tree.
func (s *Store) assemble(p *present, revision Revision, f filter, plan listPlan) *List {
	list, root := &List{Revision: revision}, p.root
	from, to := f.span(root)
	if plan.start != "" {
		from = max(from, root.rank(f.keyAt(plan.start)))
	}
	room, rank := plan.limit, from // what may still be taken, and the rank after the last that was
	root.walk(from, to, func(run []*Entry, leaf *node) bool {
		block := Block{run, leaf}
		if !f.whole() {
			block = f.pick(run, leaf)
		}
		full := plan.limit > 0 && int64(len(block.Entries)) >= room
		if full && int64(len(block.Entries)) > room {
			block = Block{Entries: block.Entries[:room:room]}
		}
		rank += len(run)
		if n := len(block.Entries); n > 0 {
			list.Blocks = append(list.Blocks, block)
			room -= int64(n)
			if full {
				last := block.Entries[n-1]
				rank = root.rank(last.Key) + 1
			}
		}
		return !full
	})
	if rank < to {
		s.goOn(list, f, to-from-int(plan.limit))
		s.past.save(revision, p)
	}
	return list
}

// goOn tells how the list goes on.
func (s *Store) goOn(list *List, f filter, remaining int) {
	last := list.Blocks[len(list.Blocks)-1].Entries
	start := last[len(last)-1].Key
	if f.namespace != "" {
		start.Namespace = "" // the list's scope
	}
	list.Continue = continueToken{start.path() + "\x00", list.Revision}.String()
	if !f.selective {
		n := int64(remaining)
		list.Remaining = &n
	}
}

// keyAt is the key at a path below the list's scope.
func (f *filter) keyAt(start string) Key {
	switch {
	case f.namespace != "":
		return Key{f.namespace, start}
	case f.namespaced:
		return parseKey(start)
	}
	return Key{Name: start}
}

// pick takes what is selected out of a run.
func (f *filter) pick(run []*Entry, leaf *node) Block {
	var picked []*Entry
	for i, e := range run {
		if f.wants(e) {
			if picked == nil {
				picked = make([]*Entry, 0, min(len(run)-i, 8))
			}
			picked = append(picked, e)
		}
	}
	if len(picked) == len(run) {
		return Block{run, leaf}
	}
	return Block{Entries: picked}
}

// checkAll fails when an object in the list's span cannot be decoded: a list that leaves it out would be a lie.
func (f *filter) checkAll(root *node) (err error) {
	from, to := f.span(root)
	root.walk(from, to, func(run []*Entry, _ *node) bool {
		for _, e := range run {
			if e.broken {
				err = e.listed()
				return false
			}
		}
		return true
	})
	return err
}

// check fails for an entry that cannot be decoded.
func (e *Entry) check() error {
	if !e.broken {
		return nil
	}
	_, err := e.Object()
	return err
}
