package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// scales tells how many pods the controllers of pods want.
type scales struct{ sets, deployments, replications, stateful *Source }

// scaleOwner is who wants pods, and how many.
type scaleOwner struct {
	uid  types.UID
	size int32
}

func scalesOf(c *Config) scales {
	return scales{c.Source(&appsv1.ReplicaSet{}), c.Source(&appsv1.Deployment{}), c.Source(&corev1.ReplicationController{}), c.Source(&appsv1.StatefulSet{})}
}

func (x scales) sources() []*Source {
	return []*Source{x.sets, x.deployments, x.replications, x.stateful}
}

// total is how many pods the controllers of pods want together. It tells of pods that have none.
func (x scales) total(ctx context.Context, t *Turn, pods []*corev1.Pod) (n int32, unmanaged bool, err error) {
	asked, sizes := map[types.UID]bool{}, map[types.UID]int32{}
	for _, p := range pods {
		reference := metav1.GetControllerOfNoCopy(p)
		if reference == nil {
			unmanaged = true
			continue
		}
		if asked[reference.UID] {
			continue
		}
		asked[reference.UID] = true
		owner, err := x.owner(ctx, t, reference)
		if err != nil {
			return 0, unmanaged, err
		}
		if owner == nil {
			return 0, unmanaged, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		sizes[owner.uid] = owner.size
	}
	for _, size := range sizes {
		n += size
	}
	return n, unmanaged, nil
}

// owner follows a reference to who decides on the number of pods: of a ReplicaSet that belongs to a Deployment that is the
// Deployment. It is nil if there is no such object any more.
func (x scales) owner(ctx context.Context, t *Turn, reference *metav1.OwnerReference) (*scaleOwner, error) {
	version, err := schema.ParseGroupVersion(reference.APIVersion)
	if err != nil {
		return nil, err
	}
	switch kind := (schema.GroupKind{Group: version.Group, Kind: reference.Kind}); kind {
	case schema.GroupKind{Kind: "ReplicationController"}:
		if rc, ok := referred[*corev1.ReplicationController](x.replications, t.Namespace, reference); ok {
			return &scaleOwner{rc.UID, ptr.Deref(rc.Spec.Replicas, 1)}, nil
		}
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		if set, ok := referred[*appsv1.StatefulSet](x.stateful, t.Namespace, reference); ok {
			return &scaleOwner{set.UID, ptr.Deref(set.Spec.Replicas, 1)}, nil
		}
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, schema.GroupKind{Group: "extensions", Kind: "ReplicaSet"}:
		if rs, ok := referred[*appsv1.ReplicaSet](x.sets, t.Namespace, reference); ok {
			return x.ofReplicaSet(ctx, t, rs, reference)
		}
	}
	return askForScale(ctx, t, version, reference)
}

func (x scales) ofReplicaSet(ctx context.Context, t *Turn, rs *appsv1.ReplicaSet, reference *metav1.OwnerReference) (*scaleOwner, error) {
	above := metav1.GetControllerOfNoCopy(rs)
	if above == nil || above.Kind != "Deployment" {
		return &scaleOwner{rs.UID, sizeOf(rs)}, nil
	}
	if d, ok := referred[*appsv1.Deployment](x.deployments, t.Namespace, above); ok {
		return &scaleOwner{d.UID, ptr.Deref(d.Spec.Replicas, 1)}, nil
	}
	return askForScale(ctx, t, appsv1.SchemeGroupVersion, reference)
}

// referred is the very object that a reference means, if it is there still.
func referred[T metav1.Object](s *Source, namespace string, reference *metav1.OwnerReference) (T, bool) {
	o, ok := s.cached(Key{namespace, reference.Name}).(T)
	if !ok || o.GetUID() != reference.UID {
		var none T
		return none, false
	}
	return o, true
}

// askForScale reads the scale of an object of any kind that has one.
func askForScale(ctx context.Context, t *Turn, version schema.GroupVersion, reference *metav1.OwnerReference) (*scaleOwner, error) {
	served, err := t.Client.Discovery().ServerResourcesForGroupVersion(version.String())
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var resources []metav1.APIResource
	if err == nil {
		resources = served.APIResources
	}
	i := slices.IndexFunc(resources, func(r metav1.APIResource) bool { return r.Kind == reference.Kind })
	if i < 0 {
		return nil, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: version.Group, Kind: reference.Kind}, SearchedVersions: []string{version.Version}}
	}
	resource := resources[i].Name
	if !slices.ContainsFunc(resources, func(r metav1.APIResource) bool { return r.Name == resource+"/scale" && r.Kind == "Scale" }) {
		return nil, fmt.Errorf("%s does not implement the scale subresource", schema.GroupResource{Group: version.Group, Resource: resource})
	}
	root := []string{"/apis", version.Group}
	if version.Group == "" {
		root = []string{"/api"}
	}
	body, err := t.Client.Discovery().RESTClient().Get().AbsPath(append(root, version.Version, "namespaces", t.Namespace, resource, reference.Name, "scale")...).
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var scale autoscalingv1.Scale // the other versions of it have the size in the same place
	if err := json.Unmarshal(body, &scale); err != nil {
		return nil, fmt.Errorf("scale of %s %s: %w", resource, reference.Name, err)
	}
	if scale.UID != reference.UID {
		return nil, nil
	}
	return &scaleOwner{scale.UID, scale.Spec.Replicas}, nil
}
