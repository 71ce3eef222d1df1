package scheduler

import (
	"math/bits"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kind is a set of kinds of events that may make a pod schedulable.
type Kind uint32

// The kinds of events. "Other" pods are on nodes, or about to be.
const (
	NodeAdded Kind = 1 << iota
	NodeAllocatable
	NodeLabels
	NodeTaints // taints, and whether it is unschedulable
	NodeOther  // conditions, annotations, declared features
	PodAdded   // to a node
	PodRelabeled
	PodShrunk
	PodDeleted // from a node, or from the nomination for one
	SelfChanged
	ClaimChanged
	VolumeChanged
	ClassChanged
	StorageNodeChanged
	StorageDriverChanged
	StorageCapacityChanged
	AttachmentChanged
	NamespaceChanged
	NodeDeleted
)

// kindNames are upstream's names of the kinds, in their order.
func kindNames() []string {
	return []string{"NodeAdd", "NodeUpdateNodeAllocatable", "NodeUpdateNodeLabel", "NodeUpdateNodeTaint", "NodeUpdateNodeCondition",
		"AssignedPodAdd", "AssignedPodUpdatePodLabel", "AssignedPodUpdatePodScaleDown", "AssignedPodDelete", "UnschedulablePodUpdate",
		"PersistentVolumeClaimUpdate", "PersistentVolumeUpdate", "storage.k8s.io/StorageClassUpdate", "storage.k8s.io/CSINodeUpdate",
		"storage.k8s.io/CSIDriverUpdate", "storage.k8s.io/CSIStorageCapacityUpdate", "storage.k8s.io/VolumeAttachmentUpdate", "NamespaceUpdate",
		"NodeDelete"}
}

// String is the name of the first kind in the set.
func (k Kind) String() string {
	if i := bits.TrailingZeros32(uint32(k)); i < len(kindNames()) {
		return kindNames()[i]
	}
	return ""
}

// What brings a pod into a part of the queue by its own change, in upstream's words and order.
const (
	byLabels      = "UnschedulablePodUpdatePodLabel"
	byShrinking   = "UnschedulablePodUpdatePodScaleDown"
	byTolerations = "UnschedulablePodUpdatePodToleration"
	byGates       = "UnschedulablePodUpdatePodSchedulingGatesEliminated"
	byUpdate      = "UnschedulablePodUpdate"
)

// ownChange names what a waiting pod has changed of itself.
func ownChange(old, now *Pod) string {
	switch {
	case old.labelKey != now.labelKey:
		return byLabels
	case shrunk(&old.Requests, &now.Requests):
		return byShrinking
	case !equality.Semantic.DeepEqual(old.Spec.Tolerations, now.Spec.Tolerations):
		return byTolerations
	case len(old.Spec.SchedulingGates) > 0 && len(now.Spec.SchedulingGates) == 0:
		return byGates
	}
	return byUpdate
}

// name is upstream's name of what has happened.
func (e *Event) name() string {
	name, isUpdate := strings.CutSuffix(e.Kind.String(), "Update")
	switch {
	case !isUpdate:
		return e.Kind.String()
	case e.Object == nil:
		return name + "Delete"
	case e.OldObject == nil:
		return name + "Add"
	}
	return e.Kind.String()
}

// Event is something that has happened.
type Event struct {
	Kind              Kind
	OldNode, Node     *corev1.Node // of NodeDeleted, OldNode is the one that is gone
	OldPod, Pod       *Pod         // of PodDeleted, Pod is the one that is gone
	OldObject, Object runtime.Object
}
