package controllers

import (
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// garbageGraph knows who is owned by whom. It has a node for each object that has owners, or that waits for its
// dependents before it goes, and an edge for each reference, also to owners that nobody has seen.
//
// It decides nothing: it says which objects are worth a look after something has happened.
type garbageGraph struct {
	mu         sync.Mutex // guards the fields below and the nodes
	nodes      map[types.UID]*garbageNode
	dependents map[types.UID]map[types.UID]bool // by UID of the owner
}

// garbageNode is an object in the graph. Nodes are replaced, never changed.
type garbageNode struct {
	Key
	uid      types.UID
	resource *Resource
	owners   []metav1.OwnerReference
	phase    garbagePhase
}

// garbagePhase is how far an object is on its way out.
type garbagePhase int

const (
	garbageStays    garbagePhase = iota
	garbageGoes                  // it is being deleted, and waits for nothing that is of interest here
	garbageWaits                 // it goes once the dependents are gone that block it
	garbageReleases              // it goes once its dependents no longer refer to it
)

func garbagePhaseOf(o metav1.Object) garbagePhase {
	switch finalizers := o.GetFinalizers(); {
	case o.GetDeletionTimestamp() == nil:
		return garbageStays
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return garbageReleases
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return garbageWaits
	}
	return garbageGoes
}

func newGarbageGraph() *garbageGraph {
	return &garbageGraph{nodes: map[types.UID]*garbageNode{}, dependents: map[types.UID]map[types.UID]bool{}}
}

// observe takes note of a change and returns the objects that are worth a look: those whose owners are new or have gone,
// those that have begun to wait for others, with these others, and those that waited for what has changed.
func (g *garbageGraph) observe(r *Resource, old, now metav1.Object) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var looks []types.UID
	if now == nil || old != nil && old.GetUID() != now.GetUID() { // replaced, while nobody looked
		looks = g.lost(old)
	}
	if now == nil {
		return looks
	}
	uid := now.GetUID()
	before := g.nodes[uid]
	n := &garbageNode{KeyOf(now), uid, r, now.GetOwnerReferences(), garbagePhaseOf(now)}
	if before == nil {
		before = &garbageNode{}
	}
	if g.nodes[uid] = n; n.concernsNobody() {
		delete(g.nodes, uid)
	}
	looks = append(looks, g.unblocked(before.owners, n.owners)...)
	if g.connect(uid, before.owners, n.owners) {
		looks = append(looks, uid)
	}
	if n.phase != before.phase && n.phase > garbageGoes {
		looks = append(looks, uid)
		if n.phase == garbageWaits {
			looks = slices.AppendSeq(looks, maps.Keys(g.dependents[uid]))
		}
	}
	return looks
}

// concernsNobody is true for most objects.
func (n *garbageNode) concernsNobody() bool { return len(n.owners) == 0 && n.phase <= garbageGoes }

// lost forgets an object that is gone. Its dependents may be garbage now, and its owners may have waited for it.
func (g *garbageGraph) lost(o metav1.Object) []types.UID {
	uid := o.GetUID()
	looks := slices.Collect(maps.Keys(g.dependents[uid]))
	if n := g.nodes[uid]; n != nil {
		g.connect(uid, n.owners, nil)
		delete(g.nodes, uid)
		for _, owner := range n.owners {
			if g.waits(owner.UID) {
				looks = append(looks, owner.UID)
			}
		}
	}
	return looks
}

// connect replaces the edges of an object, and reports whether some are new.
func (g *garbageGraph) connect(uid types.UID, before, now []metav1.OwnerReference) (more bool) {
	for _, owner := range before {
		if !refersTo(now, owner.UID) {
			if delete(g.dependents[owner.UID], uid); len(g.dependents[owner.UID]) == 0 {
				delete(g.dependents, owner.UID)
			}
		}
	}
	for _, owner := range now {
		if refersTo(before, owner.UID) {
			continue
		}
		more = true
		if g.dependents[owner.UID] == nil {
			g.dependents[owner.UID] = map[types.UID]bool{}
		}
		g.dependents[owner.UID][uid] = true
	}
	return more
}

func refersTo(references []metav1.OwnerReference, owner types.UID) bool {
	return slices.ContainsFunc(references, func(r metav1.OwnerReference) bool { return r.UID == owner })
}

// blocks reports that a reference to an owner keeps it from going.
func blocks(references []metav1.OwnerReference, owner types.UID) bool {
	return slices.ContainsFunc(references, func(r metav1.OwnerReference) bool { return r.UID == owner && ptr.Deref(r.BlockOwnerDeletion, false) })
}

// unblocked are the owners that were blocked and are no longer.
func (g *garbageGraph) unblocked(before, now []metav1.OwnerReference) (owners []types.UID) {
	for _, r := range before {
		if blocks(before, r.UID) && !blocks(now, r.UID) && g.waits(r.UID) {
			owners = append(owners, r.UID)
		}
	}
	return owners
}

func (g *garbageGraph) waits(uid types.UID) bool {
	n := g.nodes[uid]
	return n != nil && n.phase == garbageWaits
}

// node is an object of the graph and those that depend on it; nil if there is none.
func (g *garbageGraph) node(uid types.UID) (n *garbageNode, dependents []*garbageNode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for d := range g.dependents[uid] {
		if there := g.nodes[d]; there != nil {
			dependents = append(dependents, there)
		}
	}
	return g.nodes[uid], dependents
}
