package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

// reach is what can be reached from each node: the pods bound to it and what they refer to, volumes attached to it, and
// device slices of it. Volumes, and the secrets with which storage systems are entered, are reached through claims.
//
// It is two counted sets, kept by what each change takes away and adds. Nothing of an object is remembered but a digest of
// its name, too long for two names to share one: a pod costs some hundred bytes, however long the names are. A question is
// two look-ups, or as many as the node's pods have references at the most.
type reach struct {
	mu      sync.RWMutex // guards the fields below
	from    map[string]counts
	through map[name]counts // claims by what is reached through them
}

// name is an object's resource, namespace (none for those of the cluster) and name: 128 bits of their SHA-256.
type name [16]byte

func nameOf(plural, namespace, object string) name {
	var room [192]byte // names of the usual length cost no allocation
	text := append(append(room[:0], plural...), 0)
	text = append(append(text, namespace...), 0)
	sum := sha256.Sum256(append(text, object...))
	return name(sum[:16])
}

// counts is how many ways lead to a name.
type counts map[name]int32

func newReach() *reach {
	return &reach{from: map[string]counts{}, through: map[name]counts{}}
}

// follow keeps the sets as the cluster is, and returns by which resources.
func (r *reach) follow(ctx context.Context, objects registry.Objects, log *slog.Logger) (followed []schema.GroupResource) {
	for _, one := range []struct {
		group, plural string
		changed       func(old, now registry.Object)
	}{
		{"", "pods", r.podChanged},
		{"", "persistentvolumes", r.volumeChanged},
		{storagev1.GroupName, "volumeattachments", r.attachmentChanged},
		{resourcev1.GroupName, "resourceslices", r.sliceChanged},
	} {
		if err := objects.Follow(ctx, one.group, one.plural, one.changed); err != nil {
			log.Warn("the rights of nodes that follow from objects have to wait for these", "resource", one.plural, "err", err)
		}
		followed = append(followed, schema.GroupResource{Group: one.group, Resource: one.plural})
	}
	return followed
}

// has reports whether an object can be reached from the node.
func (r *reach) has(node string, n name) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	near := r.from[node]
	if near[n] > 0 {
		return true
	}
	few, many := near, r.through[n]
	if len(few) > len(many) {
		few, many = many, few
	}
	for one := range few {
		if many[one] > 0 {
			return true
		}
	}
	return false
}

// near is what one object puts in reach of a node.
type near struct {
	node string
	of   []name
}

// replace takes away what was and adds what is.
func (r *reach) replace(was, is near) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.from, is.node, is.of, 1)
	change(r.from, was.node, was.of, -1)
}

// change adds to the counts under a key. Who counts nothing is left out.
func change[K comparable](sets map[K]counts, key K, names []name, by int32) {
	if len(names) == 0 {
		return
	}
	set := sets[key]
	if set == nil {
		set = counts{}
		sets[key] = set
	}
	for _, n := range names {
		if set[n] += by; set[n] == 0 {
			delete(set, n)
		}
	}
	if len(set) == 0 {
		delete(sets, key)
	}
}

func (r *reach) podChanged(old, now registry.Object) {
	was, _ := old.(*corev1.Pod)
	is, _ := now.(*corev1.Pod)
	if was != nil && is != nil && sameReferences(was, is) {
		return
	}
	r.replace(nearPod(was), nearPod(is))
}

// sameReferences is the case of nearly every change. A bound pod's references are fixed but for what is added to it:
// debugging containers, and claims made for it.
func sameReferences(was, is *corev1.Pod) bool {
	return was.Spec.NodeName == is.Spec.NodeName &&
		(is.Spec.NodeName == "" || was.UID == is.UID &&
			len(was.Spec.EphemeralContainers) == len(is.Spec.EphemeralContainers) &&
			equality.Semantic.DeepEqual(was.Status.ResourceClaimStatuses, is.Status.ResourceClaimStatuses) &&
			equality.Semantic.DeepEqual(was.Status.ExtendedResourceClaimStatus, is.Status.ExtendedResourceClaimStatus))
}

// nearPod is the pod and what it refers to. A mirror pod leads nowhere: its node made it, and must not give itself rights.
func nearPod(p *corev1.Pod) near {
	if p == nil || p.Spec.NodeName == "" {
		return near{}
	}
	n := near{p.Spec.NodeName, []name{nameOf("pods", p.Namespace, p.Name)}}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return n
	}
	for ref := range registry.PodReferences(p) {
		n.of = append(n.of, nameOf(ref.Plural, p.Namespace, ref.Name))
	}
	return n
}

func (r *reach) attachmentChanged(old, now registry.Object) {
	of := func(o registry.Object) near {
		if a, _ := o.(*storagev1.VolumeAttachment); a != nil {
			return near{a.Spec.NodeName, []name{nameOf("volumeattachments", "", a.Name)}}
		}
		return near{}
	}
	r.replace(of(old), of(now))
}

func (r *reach) sliceChanged(old, now registry.Object) {
	of := func(o registry.Object) near {
		if s, _ := o.(*resourcev1.ResourceSlice); s != nil && ptr.Deref(s.Spec.NodeName, "") != "" {
			return near{*s.Spec.NodeName, []name{nameOf("resourceslices", "", s.Name)}}
		}
		return near{}
	}
	r.replace(of(old), of(now))
}

// volumeChanged notes the claim through which a bound volume, and the secrets that nodes need for it, are reached.
func (r *reach) volumeChanged(old, now registry.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range []struct {
		object registry.Object
		by     int32
	}{{now, 1}, {old, -1}} {
		v, _ := one.object.(*corev1.PersistentVolume)
		if v == nil || v.Spec.ClaimRef == nil {
			continue
		}
		claim := []name{nameOf("persistentvolumeclaims", v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name)}
		change(r.through, nameOf("persistentvolumes", "", v.Name), claim, one.by)
		for _, secret := range volumeSecrets(v) {
			change(r.through, secret, claim, one.by)
		}
	}
}
