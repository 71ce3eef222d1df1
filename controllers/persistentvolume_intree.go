package controllers

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// Kinds of storage that were once built in have names that begin so. Most have moved to drivers of their own since; the last
// ones that are left delete or empty volumes, and make none.
const (
	inTree        = "kubernetes.io/"
	hostPathMaker = inTree + "host-path"
	nfsMaker      = inTree + "nfs"
)

// migratedTo is the driver that now does what a built-in kind did; empty if that has none.
func migratedTo(maker string) string {
	switch maker {
	case inTree + "aws-ebs":
		return "ebs.csi.aws.com"
	case inTree + "azure-disk":
		return "disk.csi.azure.com"
	case inTree + "azure-file":
		return "file.csi.azure.com"
	case inTree + "cinder":
		return "cinder.csi.openstack.org"
	case inTree + "gce-pd":
		return "pd.csi.storage.gke.io"
	case inTree + "portworx-volume":
		return "pxd.portworx.com"
	case inTree + "vsphere-volume":
		return "csi.vsphere.vmware.com"
	}
	return ""
}

// migration sets the annotation that tells the driver which now looks after a claim or a volume, by who made it. It reports
// whether it has changed anything.
func migration(annotations map[string]string, maker string) bool {
	driver, is := migratedTo(maker), annotations[storagevolume.AnnMigratedTo]
	if driver == is {
		return false
	}
	if driver == "" {
		delete(annotations, storagevolume.AnnMigratedTo)
	} else {
		annotations[storagevolume.AnnMigratedTo] = driver
	}
	return true
}

// migratedClaim is a claim with the annotation; nil if it is as it should be.
func migratedClaim(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	maker, ok := claim.Annotations[storagevolume.AnnStorageProvisioner]
	if !ok {
		maker, ok = claim.Annotations[storagevolume.AnnBetaStorageProvisioner]
	}
	if !ok || migratedTo(maker) == claim.Annotations[storagevolume.AnnMigratedTo] {
		return nil
	}
	moved := claim.DeepCopy()
	migration(moved.Annotations, maker)
	return moved
}

// askingClaim is a claim that asks somebody to make a volume; nil if it does already.
func askingClaim(claim *corev1.PersistentVolumeClaim, maker string) *corev1.PersistentVolumeClaim {
	if claim.Annotations[storagevolume.AnnStorageProvisioner] == maker {
		return nil
	}
	asking := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&asking.ObjectMeta, storagevolume.AnnBetaStorageProvisioner, maker)
	metav1.SetMetaDataAnnotation(&asking.ObjectMeta, storagevolume.AnnStorageProvisioner, maker)
	migration(asking.Annotations, maker)
	return asking
}

// migratedVolume is a volume with the annotation, and with the finalizer that holds it until what it stands for is deleted;
// nil if it is as it should be. Finalizers of drivers are their own business.
func migratedVolume(volume *corev1.PersistentVolume) *corev1.PersistentVolume {
	maker, made := volume.Annotations[storagevolume.AnnDynamicallyProvisioned]
	if !made {
		return nil
	}
	moved := volume.DeepCopy()
	changed := migration(moved.Annotations, maker)
	holds := slices.Contains(volume.Finalizers, storagevolume.PVDeletionInTreeProtectionFinalizer)
	drop := func(finalizer string) {
		before := len(moved.Finalizers)
		moved.Finalizers = slices.DeleteFunc(moved.Finalizers, func(f string) bool { return f == finalizer })
		changed = changed || len(moved.Finalizers) != before
	}
	switch {
	case migratedTo(maker) != "":
		drop(storagevolume.PVDeletionInTreeProtectionFinalizer)
	case strings.HasPrefix(maker, inTree):
		switch deletes := volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete; {
		case deletes && !holds:
			moved.Finalizers = append(moved.Finalizers, storagevolume.PVDeletionInTreeProtectionFinalizer)
			changed = true
		case !deletes:
			drop(storagevolume.PVDeletionInTreeProtectionFinalizer)
		}
		drop(storagevolume.PVDeletionProtectionFinalizer)
	}
	if !changed {
		return nil
	}
	return moved
}
