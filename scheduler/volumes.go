package scheduler

import (
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// volumes is what there is of storage, and what cycles have decided about it that the informers do not show yet.
type volumes struct {
	claims      corelisters.PersistentVolumeClaimLister
	volumes     corelisters.PersistentVolumeLister
	classes     storagelisters.StorageClassLister
	nodes       storagelisters.CSINodeLister
	drivers     storagelisters.CSIDriverLister
	capacities  storagelisters.CSIStorageCapacityLister
	attachments storagelisters.VolumeAttachmentLister

	mu             sync.Mutex // guards the fields below
	assumedVolumes map[string]*corev1.PersistentVolume
	assumedClaims  map[types.NamespacedName]*corev1.PersistentVolumeClaim

	supposed supposed // of a world in thought; nil for the real one
}

func newVolumes(f informers.SharedInformerFactory) *volumes {
	core, storage := f.Core().V1(), f.Storage().V1()
	return &volumes{claims: core.PersistentVolumeClaims().Lister(), volumes: core.PersistentVolumes().Lister(),
		classes: storage.StorageClasses().Lister(), nodes: storage.CSINodes().Lister(), drivers: storage.CSIDrivers().Lister(),
		capacities: storage.CSIStorageCapacities().Lister(), attachments: storage.VolumeAttachments().Lister(),
		assumedVolumes: map[string]*corev1.PersistentVolume{}, assumedClaims: map[types.NamespacedName]*corev1.PersistentVolumeClaim{}}
}

// volume is a volume as it will be. What was assumed holds until the informer shows another version than it was based on.
func (v *volumes) volume(name string) (*corev1.PersistentVolume, error) {
	if o, ok := supposedOf[*corev1.PersistentVolume](v, "", name); ok {
		return o, nil
	}
	seen, err := v.volumes.Get(name)
	if err != nil {
		return nil, err
	}
	return v.withAssumed(seen), nil
}

func (v *volumes) withAssumed(seen *corev1.PersistentVolume) *corev1.PersistentVolume {
	v.mu.Lock()
	defer v.mu.Unlock()
	assumed := v.assumedVolumes[seen.Name]
	if assumed == nil {
		return seen
	}
	if assumed.ResourceVersion != seen.ResourceVersion {
		delete(v.assumedVolumes, seen.Name)
		return seen
	}
	return assumed
}

// ofClass are the volumes of a class, as they will be.
func (v *volumes) ofClass(class string) []*corev1.PersistentVolume {
	all, _ := v.volumes.List(labels.Everything()) // a lister of memory
	var found []*corev1.PersistentVolume
	for _, volume := range all {
		if _, ok := supposedOf[*corev1.PersistentVolume](v, "", volume.Name); !ok && volume.Spec.StorageClassName == class {
			found = append(found, v.withAssumed(volume))
		}
	}
	for _, o := range v.supposed {
		if volume, ok := o.(*corev1.PersistentVolume); ok && volume.Spec.StorageClassName == class {
			found = append(found, volume)
		}
	}
	return found
}

// claim is a claim as it will be.
func (v *volumes) claim(namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	if o, ok := supposedOf[*corev1.PersistentVolumeClaim](v, namespace, name); ok {
		return o, nil
	}
	seen, err := v.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	assumed := v.assumedClaims[key]
	if assumed == nil {
		return seen, nil
	}
	if assumed.ResourceVersion != seen.ResourceVersion {
		delete(v.assumedClaims, key)
		return seen, nil
	}
	return assumed, nil
}

// assume takes a plan for done; forget takes that back.
func (v *volumes) assume(p *volumePlan) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, volume := range p.bind {
		v.assumedVolumes[volume.Name] = volume
	}
	for _, claim := range p.provision {
		v.assumedClaims[types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}] = claim
	}
}

func (v *volumes) forget(p *volumePlan) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, volume := range p.bind {
		delete(v.assumedVolumes, volume.Name)
	}
	for _, claim := range p.provision {
		delete(v.assumedClaims, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
	}
}

// claimsOf are the claims of a pod's volumes, also those that are made for it.
func (v *volumes) claimsOf(pod *corev1.Pod) ([]*corev1.PersistentVolumeClaim, error) {
	var found []*corev1.PersistentVolumeClaim
	for i := range pod.Spec.Volumes {
		claim, err := v.claimOf(pod, &pod.Spec.Volumes[i])
		if err != nil {
			return nil, err
		}
		if claim != nil {
			found = append(found, claim)
		}
	}
	return found, nil
}

// claimOf is the claim of one volume; nil if it is of another sort. Errors are for people to read.
func (v *volumes) claimOf(pod *corev1.Pod, volume *corev1.Volume) (*corev1.PersistentVolumeClaim, error) {
	var name string
	switch {
	case volume.PersistentVolumeClaim != nil:
		name = volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		name = ephemeral.VolumeClaimName(pod, volume)
	default:
		return nil, nil
	}
	claim, err := v.claim(pod.Namespace, name)
	switch {
	case apierrors.IsNotFound(err) && volume.Ephemeral != nil:
		return nil, fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case err != nil:
		return nil, err
	case claim.Status.Phase == corev1.ClaimLost:
		return nil, fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", name)
	case volume.Ephemeral != nil:
		return claim, ephemeral.VolumeIsForPod(pod, claim)
	}
	return claim, nil
}

// hasClaims reports that a pod has volumes of the sorts that claims stand for.
func hasClaims(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil })
}

// isOf reports that an event is of a claim that a pod names, or that is made for it.
func isOf(e *Event, p *Pod) bool {
	claim, ok := e.Object.(*corev1.PersistentVolumeClaim)
	return ok && claim.Namespace == p.Namespace && slices.Contains(claims(p.Pod), claim.Name)
}

// hopeless is a refusal by one plugin that nothing on nodes would change.
func hopeless(plugin string, err error) *Refusal {
	return &Refusal{plugin, []string{err.Error()}, true}
}
