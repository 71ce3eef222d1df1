package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// volumeZone keeps pods to the zones and regions that the labels of their volumes name.
type volumeZone struct{ volumes *volumes }

func newVolumeZone(s *Scheduler) *volumeZone { return &volumeZone{s.volumes} }

// zoneLabels are looked at, each with the name that nodes may have instead.
func zoneLabels() map[string]string {
	return map[string]string{
		corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		corev1.LabelTopologyZone: corev1.LabelTopologyZone, corev1.LabelTopologyRegion: corev1.LabelTopologyRegion,
	}
}

// place is where a volume is: one of the values of a label.
type place struct {
	key    string
	values []string
}

func (v *volumeZone) Filter(c *Cycle) (Judge, *Refusal) {
	const plugin = "VolumeZone"
	v = v.in(c)
	var places []place
	for i := range c.Pod.Spec.Volumes {
		ref := c.Pod.Spec.Volumes[i].PersistentVolumeClaim
		if ref == nil {
			continue
		}
		found, err := v.places(c.Pod.Namespace, ref.ClaimName)
		if err != nil {
			return nil, hopeless(plugin, err)
		}
		places = append(places, found...)
	}
	if len(places) == 0 {
		return nil, nil
	}
	refusal := &Refusal{plugin, []string{"node(s) had no available volume zone"}, true}
	return judging(func(n *Node) *Refusal {
		if !isIn(n.Labels, places) {
			return refusal
		}
		return nil
	}), nil
}

// places are those of a claim's volume; none if it will be made where the pod runs.
func (v *volumeZone) places(namespace, name string) ([]place, error) {
	claim, err := v.volumes.claim(namespace, name)
	if err != nil {
		return nil, err
	}
	if claim.Spec.VolumeName == "" {
		return nil, v.waits(claim)
	}
	volume, err := v.volumes.volume(claim.Spec.VolumeName)
	if err != nil {
		return nil, err
	}
	return placesOf(volume), nil
}

// waits returns nil if the claim waits for its first pod.
func (v *volumeZone) waits(claim *corev1.PersistentVolumeClaim) error {
	name := storagevolume.GetPersistentVolumeClaimClass(claim)
	if name == "" {
		return fmt.Errorf("PersistentVolumeClaim had no pv name and storageClass name")
	}
	class, err := v.volumes.classes.Get(name)
	switch {
	case err != nil:
		return err
	case class.VolumeBindingMode == nil:
		return fmt.Errorf("VolumeBindingMode not set for StorageClass %q", name)
	case *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer:
		return fmt.Errorf("PersistentVolume had no name")
	}
	return nil
}

// placesOf reads the labels; several zones are parted by "__".
func placesOf(volume *corev1.PersistentVolume) []place {
	var places []place
	for _, key := range slices.Sorted(maps.Keys(zoneLabels())) {
		value, ok := volume.Labels[key]
		if !ok {
			continue
		}
		values := strings.Split(value, "__")
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		if !slices.Contains(values, "") {
			places = append(places, place{key, values})
		}
	}
	return places
}

// isIn reports that a node is in all places; one that tells nothing of zones is anywhere.
func isIn(node map[string]string, places []place) bool {
	names := zoneLabels()
	tells := false
	for key := range names {
		_, ok := node[key]
		tells = tells || ok
	}
	if !tells {
		return true
	}
	for _, p := range places {
		value, ok := node[p.key]
		if !ok {
			value, ok = node[names[p.key]]
		}
		if !ok || !slices.Contains(p.values, value) {
			return false
		}
	}
	return true
}

func (*volumeZone) WakenBy() Kind {
	return NodeAdded | NodeLabels | ClaimChanged | VolumeChanged | ClassChanged
}

func (*volumeZone) Helps(e *Event, p *Pod) bool {
	switch o := e.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		return isOf(e, p)
	case *corev1.PersistentVolume:
		old, _ := e.OldObject.(*corev1.PersistentVolume)
		return old == nil || !slices.EqualFunc(placesOf(old), placesOf(o), func(a, b place) bool {
			return a.key == b.key && slices.Equal(a.values, b.values)
		})
	case *storagev1.StorageClass:
		return e.OldObject == nil && o.VolumeBindingMode != nil && *o.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	}
	return true
}

// Facts are where the volumes are.
func (v *volumeZone) Facts(c *Cycle, _ Judge, n *Node) (facts []Fact) {
	if n == nil {
		return nil
	}
	for _, name := range claims(c.Pod.Pod) {
		found, _ := v.in(c).places(c.Pod.Namespace, name)
		for _, p := range found {
			if !isIn(n.Labels, []place{p}) {
				facts = append(facts, Fact{Text: fmt.Sprintf("the volume of claim %s is where %s is %s; here it is %q", name, p.key, strings.Join(p.values, " or "), n.Labels[p.key]), Volume: name})
			}
		}
	}
	return facts
}

// Changes are to say where a node is that does not say it, or to say it of the volume if its label is wrong: it does not move.
func (v *volumeZone) Changes(c *Cycle, _ Judge, n *Node) []Change {
	v = v.in(c)
	if n == nil {
		return v.volumes.forUnbound(c.Pod.Pod)
	}
	for _, name := range claims(c.Pod.Pod) {
		found, _ := v.places(c.Pod.Namespace, name)
		for _, p := range found {
			if isIn(n.Labels, []place{p}) {
				continue
			}
			key := zoneLabels()[p.key]
			here, says := n.Labels[p.key]
			if !says {
				here, says = n.Labels[key]
			}
			if !says {
				return []Change{labeling(n, 25, map[string]string{key: p.values[0]})}
			}
			return v.volumes.correcting(c.Pod.Namespace, name, p, here)
		}
	}
	return nil
}

// correcting is the change that a claim's volume is where a node is.
func (v *volumes) correcting(namespace, name string, p place, here string) []Change {
	claim, err := v.claim(namespace, name)
	if err != nil {
		return nil
	}
	volume, err := v.volume(claim.Spec.VolumeName)
	if err != nil {
		return nil
	}
	other := volume.DeepCopy()
	other.Labels[p.key] = here
	return []Change{{Text: fmt.Sprintf("correct the label %s of volume %s from %s to %s, if that is where it is", p.key, volume.Name, volume.Labels[p.key], here),
		Kind: "volume-label", Cost: 50, Storage: []metav1.Object{other}}}
}
