package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/knarr-dev/knarr/registry"
)

func (r restriction) admitPods(ctx context.Context, node string, a *Attributes) error {
	switch a.Subresource {
	case "":
		switch a.Operation {
		case Create:
			return r.admitMirrorPod(ctx, node, a)
		case Delete:
			if pod, ok := a.Old.(*corev1.Pod); !ok || pod.Spec.NodeName != node {
				return a.forbid("node %q can only delete pods with spec.nodeName set to itself", node)
			}
			return nil
		}
		return a.forbid("unexpected operation %q, node %q can only create and delete mirror pods", a.Operation, node)
	case "status":
		return admitPodStatus(node, a)
	case "eviction":
		return r.admitEviction(ctx, node, a)
	}
	return a.forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource)
}

// admitMirrorPod lets a node show a pod that it runs of its own accord, bound to it, owned by it, and without access to
// anything in the API.
func (r restriction) admitMirrorPod(ctx context.Context, node string, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok {
		return a.forbid("unexpected type %T", a.Object)
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return a.forbid("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return a.forbid("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if err := r.ownedByNode(ctx, node, a, pod); err != nil {
		return err
	}
	resource, err := apiReference(pod)
	if err != nil {
		return a.forbid("error checking mirror pod for API references: %w", err)
	}
	if resource != "" {
		return a.forbid("node %q can not create pods that reference %s", node, resource)
	}
	return nil
}

func (r restriction) ownedByNode(ctx context.Context, node string, a *Attributes, pod *corev1.Pod) error {
	switch len(pod.OwnerReferences) {
	case 1:
	case 0:
		return a.forbid("node %q can only create pods with an owner reference set to itself", node)
	default:
		return a.forbid("node %q can only create pods with a single owner reference set to itself", node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return a.forbid("node %q can only create pods with an owner reference set to itself", node)
	case !ptr.Deref(owner.Controller, false):
		return a.forbid("node %q can only create pods with a controller owner reference set to itself", node)
	case ptr.Deref(owner.BlockOwnerDeletion, false):
		return a.forbid("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	found, err := find[*corev1.Node](ctx, r.objects, "", "nodes", "", node)
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return a.forbid("error looking up node %s to verify uid: %v", node, err)
	case owner.UID != found.UID:
		return a.forbid("node %s UID mismatch: expected %s got %s", node, owner.UID, found.UID)
	}
	return nil
}

// apiReference is the first kind of thing that a pod cannot run without asking the API for it; empty if there is none. A
// volume of an unknown kind might be such a thing.
func apiReference(pod *corev1.Pod) (resource string, err error) {
	if pod.Spec.ServiceAccountName != "" {
		return "serviceaccounts", nil
	}
	for _, plural := range []string{"secrets", "configmaps"} {
		for ref := range registry.PodReferences(pod) {
			if ref.Plural == plural {
				return plural, nil
			}
		}
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return "resourceclaims", nil
	}
	for i := range pod.Spec.Volumes {
		if resource, err := volumeReference(&pod.Spec.Volumes[i]); resource != "" || err != nil {
			return resource, err
		}
	}
	return "", nil
}

func volumeReference(v *corev1.Volume) (resource string, err error) {
	switch {
	case v.AWSElasticBlockStore != nil, v.AzureDisk != nil, v.CephFS != nil, v.Cinder != nil,
		v.DownwardAPI != nil, v.EmptyDir != nil, v.FC != nil, v.FlexVolume != nil, v.Flocker != nil, v.GCEPersistentDisk != nil,
		v.GitRepo != nil, v.HostPath != nil, v.Image != nil, v.ISCSI != nil, v.NFS != nil, v.PhotonPersistentDisk != nil,
		v.PortworxVolume != nil, v.Quobyte != nil, v.RBD != nil, v.ScaleIO != nil, v.StorageOS != nil, v.VsphereVolume != nil:
		return "", nil
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)", nil
	case v.Secret != nil:
		return "secrets (via secret volumes)", nil
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)", nil
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)", nil
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims", nil
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)", nil
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)", nil
	case v.Projected != nil:
		return projectedReference(v)
	}
	return "", fmt.Errorf("unknown volume type for volume  %q", v.Name)
}

func projectedReference(v *corev1.Volume) (resource string, err error) {
	for _, s := range v.Projected.Sources {
		switch {
		case s.ConfigMap != nil:
			return "configmaps (via projected volumes)", nil
		case s.Secret != nil:
			return "secrets (via projected volumes)", nil
		case s.ServiceAccountToken != nil:
			return "serviceaccounts (via projected volumes)", nil
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles", nil
		case s.PodCertificate != nil:
			return "podcertificates", nil
		case s.DownwardAPI == nil:
			return "", fmt.Errorf("unknown source for projected volume %q", v.Name)
		}
	}
	return "", nil
}

// admitPodStatus keeps labels and claims, which others write, out of a node's reports.
func admitPodStatus(node string, a *Attributes) error {
	if a.Operation != Update {
		return a.forbid("unexpected operation %q", a.Operation)
	}
	was, is := a.Old.(*corev1.Pod), a.Object.(*corev1.Pod)
	switch {
	case was.Spec.NodeName != node:
		return a.forbid("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !maps.Equal(was.Labels, is.Labels):
		return a.forbid("node %q cannot update labels through pod status", node)
	case !slices.EqualFunc(was.Status.ResourceClaimStatuses, is.Status.ResourceClaimStatuses, sameClaimStatus):
		return a.forbid("node %q cannot update resource claim statues", node)
	case !sameExtendedClaim(was.Status.ExtendedResourceClaimStatus, is.Status.ExtendedResourceClaimStatus):
		return a.forbid("node %q cannot update extended resource claim status", node)
	}
	return nil
}

func sameClaimStatus(a, b corev1.PodResourceClaimStatus) bool {
	return a.Name == b.Name && ptr.Equal(a.ResourceClaimName, b.ResourceClaimName)
}

func sameExtendedClaim(a, b *corev1.PodExtendedResourceClaimStatus) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ResourceClaimName == b.ResourceClaimName && slices.Equal(a.RequestMappings, b.RequestMappings)
}

func (r restriction) admitEviction(ctx context.Context, node string, a *Attributes) error {
	if a.Operation != Create {
		return a.forbid("unexpected operation %s", a.Operation)
	}
	name := a.requestedName()
	if name == "" {
		return a.forbid("could not determine pod from request data")
	}
	pod, err := find[*corev1.Pod](ctx, r.objects, "", "pods", a.Namespace, name)
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return a.forbid("%w", err)
	case pod.Spec.NodeName != node:
		return a.forbid("node %s can only evict pods with spec.nodeName set to itself", node)
	}
	return nil
}
