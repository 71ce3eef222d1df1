package scheduler

import (
	"fmt"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Facts are the drivers that take no more.
func (v *nodeVolumeLimits) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	if n == nil {
		return nil
	}
	v = v.in(c)
	want := attached{}
	v.collect(c.Pod.Pod, want)
	there := v.there(n)
	for driver, limit := range v.limits(n.name) {
		if len(want[driver]) > 0 {
			facts = append(facts, Fact{Text: fmt.Sprintf("driver %s: %d more volumes asked, %d of at most %d attached", driver, len(want[driver]), len(there[driver]), limit), Volume: driver})
		}
	}
	return facts
}

// Changes are that volumes which nobody uses there are detached, or that the least important pods leave whose volumes make
// enough room.
func (v *nodeVolumeLimits) Changes(c *Cycle, _ Judge, n *Node) (changes []Change) {
	v = v.in(c)
	want := attached{}
	v.collect(c.Pod.Pod, want)
	used := attached{}
	for _, p := range n.Pods {
		v.collect(p.Pod, used)
	}
	for _, a := range v.attachments(n.name, func(driver, handle string) bool {
		return want[driver] != nil && !used[driver][handle] && !want[driver][handle]
	}) {
		changes = append(changes, Change{Text: fmt.Sprintf("detach volume %s from %s, where no pod uses it: delete VolumeAttachment %s", *a.Spec.Source.PersistentVolumeName, n.name, a.Name),
			Kind: "detach", Cost: 20, Storage: []metav1.Object{detached(a)}})
	}
	return append(changes, v.parting(want, n)...)
}

// parting is that pods leave.
func (v *nodeVolumeLimits) parting(want attached, n *Node) []Change {
	var leaving []*Pod
	rest := &Node{Node: n.Node, name: n.name, Pods: slices.Clone(n.Pods)}
	for _, p := range slices.SortedFunc(slices.Values(n.Pods), func(a, b *Pod) int { return byImportance(b, a) }) {
		has := attached{}
		v.collect(p.Pod, has)
		if !mayLeave(p) || !has.anyOf(want) {
			continue
		}
		leaving = append(leaving, p)
		rest.Pods = slices.DeleteFunc(rest.Pods, func(o *Pod) bool { return o == p })
		stays := attached{}
		for _, o := range rest.Pods {
			v.collect(o.Pod, stays)
		}
		var off []metav1.Object
		for _, a := range v.attachments(n.name, func(driver, handle string) bool { return !stays[driver][handle] }) {
			off = append(off, detached(a)) // what nobody uses any more is detached by itself
		}
		after := v
		if len(off) > 0 {
			after = &nodeVolumeLimits{v.volumes.supposing(off)}
		}
		if !after.fits(want, rest) {
			continue
		}
		changes := freeing(n, "a volume's place", leaving)
		for i := range changes {
			changes[i].Storage = off
		}
		return changes
	}
	return nil
}

// anyOf reports that a volume is of a driver of others.
func (a attached) anyOf(others attached) bool {
	for driver := range a {
		if others[driver] != nil {
			return true
		}
	}
	return false
}

// attachments are those to a node of volumes that are meant.
func (v *nodeVolumeLimits) attachments(node string, meant func(driver, handle string) bool) (found []*storagev1.VolumeAttachment) {
	v.eachAttachment(node, func(a *storagev1.VolumeAttachment, driver, handle string) {
		if meant(driver, handle) {
			found = append(found, a)
		}
	})
	slices.SortFunc(found, func(a, b *storagev1.VolumeAttachment) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// detached is an attachment to no node.
func detached(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachment {
	other := a.DeepCopy()
	other.Spec.NodeName = ""
	return other
}
