package store

import "slices"

// The tree is a B+tree of entries in key order. It is persistent: whoever holds a root holds the collection as it was,
// for as long as it likes, and without locks. A change copies the path from the root to the leaf, once for all changes
// that are made by the same edit.
//
// A leaf is also the unit in which answers are kept: what was made of its entries as a whole (a compressed run of list
// items) stays with the leaf and is forgotten with it, when one of its entries changes.
//
// Inner nodes keep no separators. The smallest key below a child is looked up in the child itself, so that a tree never
// holds on to a superseded entry.

// fanout is the most entries of a leaf and the most children of an inner node.
const fanout = 64

type node struct {
	owner    *authorship // of the edit that may still change this node
	count    int         // entries below
	entries  []*Entry
	children []*node // nil for a leaf
	memos    memos   // of a leaf
}

func (n *node) leaf() bool { return n.children == nil }

// size is the number of entries in the tree; a nil root is the empty tree.
func (n *node) size() int {
	if n == nil {
		return 0
	}
	return n.count
}

// first is the entry with the smallest key. The node must not be empty.
func (n *node) first() *Entry {
	for !n.leaf() {
		n = n.children[0]
	}
	return n.entries[0]
}

// search returns the place of k among a leaf's entries, and whether it is there.
func (n *node) search(k Key) (int, bool) {
	return slices.BinarySearchFunc(n.entries, k, func(e *Entry, k Key) int { return e.Key.compare(k) })
}

// child returns the index of the child in whose range k falls.
func (n *node) child(k Key) int {
	i, found := slices.BinarySearchFunc(n.children, k, func(c *node, k Key) int { return c.first().Key.compare(k) })
	if !found && i > 0 {
		i--
	}
	return i
}

// get returns the entry under k, or nil.
func (n *node) get(k Key) *Entry {
	if n == nil {
		return nil
	}
	for !n.leaf() {
		n = n.children[n.child(k)]
	}
	if i, ok := n.search(k); ok {
		return n.entries[i]
	}
	return nil
}

// rank returns the number of entries with keys less than k.
func (n *node) rank(k Key) int {
	if n == nil {
		return 0
	}
	rank := 0
	for !n.leaf() {
		c := n.child(k)
		for _, before := range n.children[:c] {
			rank += before.count
		}
		n = n.children[c]
	}
	i, _ := n.search(k)
	return rank + i
}

// walk calls visit with the entries whose rank lies in [from, to), a run of one leaf at a time, until visit returns
// false. leaf is nil when the run is not all of its leaf.
func (n *node) walk(from, to int, visit func(run []*Entry, leaf *node) bool) bool {
	if n == nil || from >= to {
		return true
	}
	if n.leaf() {
		from, to = max(from, 0), min(to, len(n.entries))
		if from == 0 && to == len(n.entries) {
			return visit(n.entries, n)
		}
		return visit(n.entries[from:to:to], nil)
	}
	for _, c := range n.children {
		if to <= 0 {
			break
		}
		if from < c.count && !c.walk(from, min(to, c.count), visit) {
			return false
		}
		from, to = from-c.count, to-c.count
	}
	return true
}

// all calls visit with every entry in key order.
func (n *node) all(visit func(*Entry)) {
	n.walk(0, n.size(), func(run []*Entry, _ *node) bool {
		for _, e := range run {
			visit(e)
		}
		return true
	})
}

// edit makes a new tree of an old one. Nodes that it has copied already it changes in place, so that a batch of changes
// costs one copy of each node. The old tree stays as it is; root is the new one, to be published once the edit is over.
type edit struct {
	root *node
	mark *authorship
}

// authorship tells the nodes of an edit. A node must not refer to the edit itself: it would hold on to the tree that the edit has
// made, with all that has been superseded since.
type authorship struct{ _ byte }

func edited(root *node) *edit { return &edit{root, new(authorship)} }

// treeOf is a tree of these entries.
func treeOf(entries []*Entry) *node {
	ed := edited(nil)
	for _, e := range entries {
		ed.set(e)
	}
	return ed.root
}

// own returns a node that this edit may change.
func (ed *edit) own(n *node) *node {
	if n.owner == ed.mark {
		return n
	}
	c := &node{owner: ed.mark, count: n.count}
	if n.leaf() {
		c.entries = append(make([]*Entry, 0, min(len(n.entries)+1, fanout)), n.entries...)
	} else {
		c.children = append(make([]*node, 0, min(len(n.children)+1, fanout)), n.children...)
	}
	return c
}

// set puts e under its key and returns the entry that was there.
func (ed *edit) set(e *Entry) *Entry {
	if ed.root == nil {
		ed.root = &node{owner: ed.mark, count: 1, entries: []*Entry{e}}
		return nil
	}
	root, right, old := ed.insert(ed.root, e)
	if right != nil {
		root = &node{owner: ed.mark, count: root.count + right.count, children: []*node{root, right}}
	}
	ed.root = root
	return old
}

// insert returns the changed node, its new right neighbour if it had to be split, and the entry that e replaces.
func (ed *edit) insert(n *node, e *Entry) (left, right *node, old *Entry) {
	n = ed.own(n)
	if n.leaf() {
		i, found := n.search(e.Key)
		if found {
			old, n.entries[i] = n.entries[i], e
			n.memos.forget()
			return n, nil, old
		}
		n.entries = slices.Insert(n.entries, i, e)
		n.count++
		n.memos.forget()
		if len(n.entries) > fanout {
			right = ed.split(n, i)
		}
		return n, right, nil
	}
	i := n.child(e.Key)
	child, sibling, old := ed.insert(n.children[i], e)
	n.children[i] = child
	if sibling != nil {
		n.children = slices.Insert(n.children, i+1, sibling)
	}
	if old == nil {
		n.count++
	}
	if len(n.children) > fanout {
		right = ed.split(n, i+1)
	}
	return n, right, old
}

// split moves the upper part of an overfull node to a new one. Where keys arrive in order the left node stays full, else
// it keeps the half.
func (ed *edit) split(n *node, inserted int) *node {
	right := &node{owner: ed.mark}
	if n.leaf() {
		at := splitPoint(len(n.entries), inserted)
		right.entries = append(right.entries, n.entries[at:]...)
		clear(n.entries[at:])
		n.entries = n.entries[:at]
		right.count = len(right.entries)
	} else {
		at := splitPoint(len(n.children), inserted)
		right.children = append(right.children, n.children[at:]...)
		clear(n.children[at:])
		n.children = n.children[:at]
		for _, c := range right.children {
			right.count += c.count
		}
	}
	n.count -= right.count
	return right
}

func splitPoint(length, inserted int) int {
	if inserted == length-1 {
		return length - 1
	}
	return length / 2
}

// remove takes the entry under k out of the tree and returns it; nil means that there was none.
func (ed *edit) remove(k Key) *Entry {
	if ed.root == nil || ed.root.get(k) == nil {
		return nil
	}
	root, old := ed.cut(ed.root, k)
	for root != nil && !root.leaf() && len(root.children) == 1 {
		root = root.children[0]
	}
	ed.root = root
	return old
}

// cut removes k, which is there, and returns the changed node: nil when nothing is left of it.
func (ed *edit) cut(n *node, k Key) (*node, *Entry) {
	n = ed.own(n)
	n.count--
	if n.count == 0 {
		for !n.leaf() {
			n = n.children[0]
		}
		return nil, n.entries[0]
	}
	if n.leaf() {
		i, _ := n.search(k)
		old := n.entries[i]
		n.entries = slices.Delete(n.entries, i, i+1)
		n.memos.forget()
		return n, old
	}
	i := n.child(k)
	child, old := ed.cut(n.children[i], k)
	if child == nil {
		n.children = slices.Delete(n.children, i, i+1)
		return n, old
	}
	n.children[i] = child
	ed.merge(n, i)
	return n, old
}

// merge joins child i of n with a neighbour when both are small, so that a collection that shrinks does not end in
// leaves of one entry.
func (ed *edit) merge(n *node, i int) {
	if width(n.children[i]) > fanout/4 || len(n.children) == 1 {
		return
	}
	if i == len(n.children)-1 {
		i--
	}
	left, right := n.children[i], n.children[i+1]
	if width(left)+width(right) > fanout*3/4 {
		return
	}
	left = ed.own(left)
	left.entries = append(left.entries, right.entries...)
	left.children = append(left.children, right.children...)
	left.count += right.count
	left.memos.forget()
	n.children[i] = left
	n.children = slices.Delete(n.children, i+1, i+2)
}

// width is the number of a node's direct members.
func width(n *node) int { return len(n.entries) + len(n.children) }
