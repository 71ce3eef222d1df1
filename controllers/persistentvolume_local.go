package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// LocalPathProvisioner is the provisioner of storage classes whose volumes are folders on the node of their first pod.
const LocalPathProvisioner = "knarr.dev/local-path"

// localVolumes promises that a claim of such a class gets a volume: a folder below the configured one, on the node that the
// scheduler has selected, which the node makes when a pod mounts it. It goes with the claim if the class says so.
//
// It is a provisioner like those that come with drivers, and talks with the volume controller as they do: that one asks in
// the annotation storage-provisioner of the claim, finds the volume by its claimRef, and calls it Released in the end.
//
// The subtle case is a volume that is deleted before its claim: a finalizer keeps it until its folder has gone.
//
// Keys in a namespace are claims, keys without one are volumes.
type localVolumes struct {
	claims, volumes, classes, nodes *Source
	folder                          string
}

func localVolumeLoop(c *Config) Loop {
	if c.LocalVolumes == "" {
		return Loop{}
	}
	x := &localVolumes{c.Source(&corev1.PersistentVolumeClaim{}), c.Source(&corev1.PersistentVolume{}), c.Source(&storagev1.StorageClass{}), c.Source(&corev1.Node{}), c.LocalVolumes}
	return Loop{
		Watches: []Watch{{x.claims, askedClaim}, {x.volumes, releasedVolume}},
		Reconcile: func(ctx context.Context, t *Turn) error {
			if t.Namespace == "" {
				return x.remove(ctx, t)
			}
			return x.provision(ctx, t)
		},
	}
}

func askedClaim(_, now metav1.Object) []Key {
	if claim, _ := now.(*corev1.PersistentVolumeClaim); claim != nil && claim.Spec.VolumeName == "" && claim.Annotations[storagevolume.AnnStorageProvisioner] == LocalPathProvisioner {
		return []Key{KeyOf(now)}
	}
	return nil
}

func releasedVolume(_, now metav1.Object) []Key {
	if volume, _ := now.(*corev1.PersistentVolume); volume != nil && isReleasedLocal(volume) {
		return []Key{KeyOf(now)}
	}
	return nil
}

// isReleasedLocal reports that a volume was made here, and that nobody wants it any longer.
func isReleasedLocal(volume *corev1.PersistentVolume) bool {
	return volume.Annotations[storagevolume.AnnDynamicallyProvisioned] == LocalPathProvisioner && volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
}

func (x *localVolumes) provision(ctx context.Context, t *Turn) error {
	claim, _ := x.claims.cached(t.Key).(*corev1.PersistentVolumeClaim)
	if claim == nil || claim.DeletionTimestamp != nil || len(askedClaim(nil, claim)) == 0 {
		return nil
	}
	class, _ := x.classes.cached(Key{Name: storagevolume.GetPersistentVolumeClaimClass(claim)}).(*storagev1.StorageClass)
	if class == nil || class.Provisioner != LocalPathProvisioner || x.volumes.cached(Key{Name: localVolumeName(claim)}) != nil {
		return nil
	}
	selected, waited := claim.Annotations[storagevolume.AnnSelectedNode]
	node, _ := x.nodes.cached(Key{Name: selected}).(*corev1.Node)
	if waited && node == nil {
		return x.giveBack(ctx, t, claim) // the scheduler selects another
	}
	volume, err := localVolume(claim, class, node, x.folder)
	if err != nil {
		t.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %v", class.Name, err)
		return nil // until the claim is another
	}
	if _, err := Create(ctx, t, t.Client.CoreV1().PersistentVolumes(), volume); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return t.Failed(claim, err, "ProvisioningFailed", "Error creating provisioned PV object for claim %s: %v", t.Key, err)
	}
	t.Event(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", volume.Name)
	return nil
}

// giveBack lets the scheduler select another node.
func (x *localVolumes) giveBack(ctx context.Context, t *Turn, claim *corev1.PersistentVolumeClaim) error {
	changed := claim.DeepCopy()
	delete(changed.Annotations, storagevolume.AnnSelectedNode)
	_, err := Update(ctx, t, t.Client.CoreV1().PersistentVolumeClaims(claim.Namespace), changed)
	return err
}

func localVolumeName(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// localVolume is the volume of a claim on a node, or why there can be none. node is nil if no pod was waited for.
func localVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node, folder string) (*corev1.PersistentVolume, error) {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return nil, fmt.Errorf("access mode %s: a folder is on one node only; use ReadWriteOnce or ReadWriteOncePod", mode)
		}
	}
	switch {
	case node == nil:
		return nil, errors.New("no node was selected: use a class with volumeBindingMode WaitForFirstConsumer")
	case node.Labels[corev1.LabelHostname] == "":
		return nil, fmt.Errorf("node %s has no label %s", node.Name, corev1.LabelHostname)
	case ptr.Deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) != corev1.PersistentVolumeFilesystem:
		return nil, errors.New("a folder is no block device: use volumeMode Filesystem")
	case claim.Spec.Selector != nil:
		return nil, errors.New("claims with a selector get volumes that are there already")
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return nil, errors.New("a folder begins empty: claims with a dataSource need a driver that knows it")
	case ptr.Deref(claim.Spec.VolumeAttributesClassName, "") != "":
		return nil, errors.New("a folder has no attributes: claims with a volumeAttributesClassName need a driver")
	case len(class.MountOptions) > 0:
		return nil, fmt.Errorf("a folder is not mounted by itself: the class has mount options %v", class.MountOptions)
	}
	name := localVolumeName(claim)
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{storagevolume.AnnDynamicallyProvisioned: LocalPathProvisioner}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class.Name, PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode, Capacity: corev1.ResourceList{corev1.ResourceStorage: *claim.Spec.Resources.Requests.Storage()},
			ClaimRef: &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{
				Path: filepath.Join(folder, name), Type: ptr.To(corev1.HostPathDirectoryOrCreate)}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node.Labels[corev1.LabelHostname]}}}}}}},
		},
	}
	if volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		volume.Finalizers = []string{storagevolume.PVDeletionProtectionFinalizer}
	}
	return volume, nil
}

// remove removes the folder of a volume that nobody wants any longer, and then the volume.
func (x *localVolumes) remove(ctx context.Context, t *Turn) error {
	volume, _ := x.volumes.cached(t.Key).(*corev1.PersistentVolume)
	if volume == nil || !isReleasedLocal(volume) || volume.Spec.HostPath == nil {
		return nil
	}
	// By its name: nobody gets another folder removed by writing its path into a volume.
	if err := os.RemoveAll(filepath.Join(x.folder, filepath.Base(volume.Name))); err != nil {
		return t.Failed(volume, err, "VolumeFailedDelete", "%v", err)
	}
	client := t.Client.CoreV1().PersistentVolumes()
	switch {
	case volume.DeletionTimestamp == nil:
		return Delete(ctx, t, client, volume, metav1.DeleteOptions{}) // it comes back when it is going
	case slices.Contains(volume.Finalizers, storagevolume.PVDeletionProtectionFinalizer):
		_, err := Update(ctx, t, client, withFinalizer(volume, storagevolume.PVDeletionProtectionFinalizer, false))
		return goneAlready(err)
	}
	return nil
}
