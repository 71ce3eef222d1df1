package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// defaultVolume fills a pod's volume; one without a source is an empty directory.
func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s := v.Image; s != nil && s.PullPolicy == "" {
		s.PullPolicy = defaultPullPolicy(s.Reference)
	}
	if s := v.HostPath; s != nil {
		fillPointer(&s.Type, corev1.HostPathUnset)
	}
	if s := v.Secret; s != nil {
		fillPointer(&s.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s := v.ConfigMap; s != nil {
		fillPointer(&s.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s := v.DownwardAPI; s != nil {
		fillPointer(&s.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardFiles(s.Items)
	}
	if s := v.Projected; s != nil {
		defaultProjected(s)
	}
	if s := v.Ephemeral; s != nil && s.VolumeClaimTemplate != nil {
		defaultClaimSpec(&s.VolumeClaimTemplate.Spec)
	}
	defaultRemoteVolume(v)
}

// defaultRemoteVolume fills the sources of storage systems that a persistent volume has as well.
func defaultRemoteVolume(v *corev1.Volume) {
	if s := v.ISCSI; s != nil {
		fill(&s.ISCSIInterface, "default")
	}
	if s := v.RBD; s != nil {
		fill(&s.RBDPool, "rbd")
		fill(&s.RadosUser, "admin")
		fill(&s.Keyring, "/etc/ceph/keyring")
	}
	if s := v.AzureDisk; s != nil {
		defaultAzureDisk(s)
	}
	if s := v.ScaleIO; s != nil {
		fill(&s.StorageMode, "ThinProvisioned")
		fill(&s.FSType, "xfs")
	}
}

func defaultAzureDisk(s *corev1.AzureDiskVolumeSource) {
	fillPointer(&s.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	fillPointer(&s.FSType, "ext4")
	fillPointer(&s.ReadOnly, false)
	fillPointer(&s.Kind, corev1.AzureSharedBlobDisk)
}

func defaultProjected(s *corev1.ProjectedVolumeSource) {
	fillPointer(&s.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range s.Sources {
		if d := s.Sources[i].DownwardAPI; d != nil {
			defaultDownwardFiles(d.Items)
		}
		if t := s.Sources[i].ServiceAccountToken; t != nil {
			fillPointer(&t.ExpirationSeconds, int64(time.Hour/time.Second))
		}
	}
}

func defaultDownwardFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		defaultFieldRef(files[i].FieldRef)
	}
}

// defaultClaimSpec fills a claim, be it an object of its own or a template in a pod or StatefulSet.
func defaultClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	fillPointer(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	defaultResourceList(s.Resources.Limits)
	defaultResourceList(s.Resources.Requests)
}
