package scheduler

import (
	"fmt"
	"maps"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
)

// supposed are objects of storage as they would be, in a world in thought: in the place of those of their names, or beside
// them. What binds pods meanwhile, in the background, sees nothing of it.
type supposed map[supposedKey]metav1.Object

type supposedKey struct{ kind, namespace, name string }

// supposing is the storage with other objects in it; nil if there are none.
func (v *volumes) supposing(objects []metav1.Object) *volumes {
	if len(objects) == 0 {
		return nil
	}
	other := &volumes{claims: v.claims, volumes: v.volumes, nodes: v.nodes, drivers: v.drivers, capacities: v.capacities, attachments: v.attachments,
		supposed: supposed{}}
	maps.Copy(other.supposed, v.supposed)
	for _, o := range objects {
		other.supposed[supposedKey{fmt.Sprintf("%T", o), o.GetNamespace(), o.GetName()}] = o
	}
	other.classes = supposedClasses{v.classes, other}
	v.mu.Lock()
	defer v.mu.Unlock()
	other.assumedVolumes, other.assumedClaims = maps.Clone(v.assumedVolumes), maps.Clone(v.assumedClaims)
	return other
}

// supposedOf is an object as it is supposed to be, if it is.
func supposedOf[T metav1.Object](v *volumes, namespace, name string) (o T, ok bool) {
	if v.supposed == nil {
		return o, false
	}
	o, ok = v.supposed[supposedKey{fmt.Sprintf("%T", o), namespace, name}].(T)
	return o, ok
}

// supposedClasses are those that there are, and those that are supposed.
type supposedClasses struct {
	storagelisters.StorageClassLister
	world *volumes
}

// Get is the class that is supposed, or else the one that there is.
func (s supposedClasses) Get(name string) (*storagev1.StorageClass, error) {
	if class, ok := supposedOf[*storagev1.StorageClass](s.world, "", name); ok {
		return class, nil
	}
	return s.StorageClassLister.Get(name)
}

// in is the plugin in the world of a cycle.
func (v *volumeBinding) in(c *Cycle) *volumeBinding {
	if c.storage == nil {
		return v
	}
	return &volumeBinding{scheduler: v.scheduler, volumes: c.storage, timeout: v.timeout}
}

func (v *volumeZone) in(c *Cycle) *volumeZone {
	if c.storage == nil {
		return v
	}
	return &volumeZone{c.storage}
}

func (v *nodeVolumeLimits) in(c *Cycle) *nodeVolumeLimits {
	if c.storage == nil {
		return v
	}
	return &nodeVolumeLimits{c.storage}
}

func (v *volumeRestrictions) in(c *Cycle) *volumeRestrictions {
	if c.storage == nil {
		return v
	}
	return &volumeRestrictions{c.storage}
}
