package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// nodeVolumeLimits keeps pods from nodes to which a storage driver could not attach so many volumes.
type nodeVolumeLimits struct{ volumes *volumes }

func newNodeVolumeLimits(s *Scheduler) *nodeVolumeLimits { return &nodeVolumeLimits{s.volumes} }

// attached is volumes by driver: each counts once, however many pods use it.
type attached map[string]map[string]bool

func (a attached) add(driver, handle string) {
	if driver == "" || handle == "" {
		return
	}
	if a[driver] == nil {
		a[driver] = map[string]bool{}
	}
	a[driver][handle] = true
}

func (v *nodeVolumeLimits) Filter(c *Cycle) (Judge, *Refusal) {
	const plugin = "NodeVolumeLimits"
	if !hasClaims(c.Pod.Pod) {
		return nil, nil
	}
	want := attached{}
	if err := v.collect(c.Pod.Pod, want); err != nil {
		return nil, hopeless(plugin, err)
	}
	if len(want) == 0 {
		return nil, nil
	}
	refusal := &Refusal{Plugin: plugin, Reasons: []string{"node(s) exceed max volume count"}}
	return judging(func(n *Node) *Refusal {
		if !v.fits(want, n) {
			return refusal
		}
		return nil
	}), nil
}

// collect adds the volumes of a pod.
func (v *nodeVolumeLimits) collect(pod *corev1.Pod, into attached) error {
	for i := range pod.Spec.Volumes {
		claim, err := v.volumes.claimOf(pod, &pod.Spec.Volumes[i])
		if err != nil {
			return err
		}
		if claim != nil {
			into.add(v.handle(claim))
		}
	}
	return nil
}

// handle is what a driver calls a claim's volume. One that is to be made yet is known by the claim.
func (v *nodeVolumeLimits) handle(claim *corev1.PersistentVolumeClaim) (driver, handle string) {
	if volume, err := v.volumes.volume(claim.Spec.VolumeName); err == nil {
		if volume.Spec.CSI == nil {
			return "", ""
		}
		return volume.Spec.CSI.Driver, volume.Spec.CSI.VolumeHandle
	}
	class, err := v.volumes.classes.Get(storagevolume.GetPersistentVolumeClaimClass(claim))
	if err != nil {
		return "", ""
	}
	return class.Provisioner, "claim " + claim.Namespace + "/" + claim.Name
}

func (v *nodeVolumeLimits) fits(want attached, n *Node) bool {
	limits := v.limits(n.name)
	if len(limits) == 0 {
		return true
	}
	there := v.there(n)
	for driver, handles := range want {
		limit, limited := limits[driver]
		if !limited {
			continue
		}
		count := len(there[driver])
		for handle := range handles {
			if !there[driver][handle] {
				count++
			}
		}
		if count > limit && count > len(there[driver]) {
			return false
		}
	}
	return true
}

// there are the volumes that a node has, by its pods and by what is attached.
func (v *nodeVolumeLimits) there(n *Node) attached {
	there := attached{}
	for _, p := range n.Pods {
		for i := range p.Spec.Volumes {
			if claim, err := v.volumes.claimOf(p.Pod, &p.Spec.Volumes[i]); err == nil && claim != nil {
				there.add(v.handle(claim))
			}
		}
	}
	v.collectAttachments(n.name, there)
	return there
}

// limits are how many volumes of each driver a node takes.
func (v *nodeVolumeLimits) limits(node string) map[string]int {
	csi, err := v.volumes.nodes.Get(node)
	if err != nil {
		return nil
	}
	limits := map[string]int{}
	for _, d := range csi.Spec.Drivers {
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			limits[d.Name] = int(*d.Allocatable.Count)
		}
	}
	return limits
}

// collectAttachments adds what is attached, also for pods that are gone.
func (v *nodeVolumeLimits) collectAttachments(node string, into attached) {
	all, _ := v.volumes.attachments.List(labels.Everything()) // a lister of memory
	for _, a := range all {
		if a.Spec.NodeName != node || a.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		if volume, err := v.volumes.volume(*a.Spec.Source.PersistentVolumeName); err == nil && volume.Spec.CSI != nil {
			into.add(a.Spec.Attacher, volume.Spec.CSI.VolumeHandle)
		}
	}
}

func (*nodeVolumeLimits) WakenBy() Kind {
	return StorageNodeChanged | NodeAdded | PodDeleted | ClaimChanged | AttachmentChanged
}

func (*nodeVolumeLimits) Helps(e *Event, p *Pod) bool {
	switch e.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		return e.OldObject == nil && isOf(e, p)
	case *storagev1.CSINode, *storagev1.VolumeAttachment:
		return true
	}
	return e.Pod == nil || hasClaims(e.Pod.Pod)
}

// Facts are the drivers that take no more.
func (v *nodeVolumeLimits) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	want := attached{}
	if n == nil || v.collect(c.Pod.Pod, want) != nil {
		return nil
	}
	there := v.there(n)
	for driver, limit := range v.limits(n.name) {
		if len(want[driver]) > 0 {
			facts = append(facts, Fact{Text: fmt.Sprintf("driver %s: %d more volumes asked, %d of at most %d attached", driver, len(want[driver]), len(there[driver]), limit), Volume: driver})
		}
	}
	return facts
}

// Changes are that a pod with volumes leaves.
func (v *nodeVolumeLimits) Changes(_ *Cycle, _ Judge, n *Node) []Change {
	for _, p := range slices.SortedFunc(slices.Values(n.Pods), func(a, b *Pod) int { return byImportance(b, a) }) {
		if hasClaims(p.Pod) && mayLeave(p) {
			return freeing(n, "a volume's place", []*Pod{p})
		}
	}
	return nil
}
