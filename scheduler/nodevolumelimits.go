package scheduler

import (
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
	v = v.in(c)
	want := attached{}
	v.collect(c.Pod.Pod, want)
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

// collect adds the volumes of a pod. What is wrong with its claims is for others to say.
func (v *nodeVolumeLimits) collect(pod *corev1.Pod, into attached) {
	for _, name := range claims(pod) {
		if claim, err := v.volumes.claim(pod.Namespace, name); err == nil {
			into.add(v.handle(claim))
		}
	}
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
		v.collect(p.Pod, there)
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
	v.eachAttachment(node, func(_ *storagev1.VolumeAttachment, driver, handle string) { into.add(driver, handle) })
}

// eachAttachment goes through what is attached to a node.
func (v *nodeVolumeLimits) eachAttachment(node string, do func(a *storagev1.VolumeAttachment, driver, handle string)) {
	all, _ := v.volumes.attachments.List(labels.Everything()) // a lister of memory
	for _, a := range all {
		if other, ok := supposedOf[*storagev1.VolumeAttachment](v.volumes, "", a.Name); ok {
			a = other
		}
		if a.Spec.NodeName != node || a.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		if volume, err := v.volumes.volume(*a.Spec.Source.PersistentVolumeName); err == nil && volume.Spec.CSI != nil {
			do(a, a.Spec.Attacher, volume.Spec.CSI.VolumeHandle)
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
	case *storagev1.VolumeAttachment:
		return false // only its end makes room
	}
	return e.Pod == nil || hasClaims(e.Pod.Pod)
}
