package auth

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// volumeSecrets are the secrets with which a node enters a bound volume's storage system. Where a system's secret may be
// named without a namespace, it is in the claim's. Secrets for controllers alone (publishing, expanding) are none of a
// node's business.
func volumeSecrets(v *corev1.PersistentVolume) []name {
	var secrets []name
	add := func(namespace, secret string) {
		if secret != "" {
			secrets = append(secrets, nameOf("secrets", namespace, secret))
		}
	}
	home := v.Spec.ClaimRef.Namespace
	withHome := func(ref *corev1.SecretReference) {
		if ref != nil {
			add(cmp.Or(ref.Namespace, home), ref.Name)
		}
	}
	exact := func(ref *corev1.SecretReference) {
		if ref != nil {
			add(ref.Namespace, ref.Name)
		}
	}
	switch s := v.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		add(cmp.Or(ptr.Deref(s.AzureFile.SecretNamespace, ""), home), s.AzureFile.SecretName)
	case s.CephFS != nil:
		withHome(s.CephFS.SecretRef)
	case s.Cinder != nil:
		exact(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		withHome(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		withHome(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		withHome(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		withHome(s.ISCSI.SecretRef)
	case s.StorageOS != nil && s.StorageOS.SecretRef != nil:
		add(s.StorageOS.SecretRef.Namespace, s.StorageOS.SecretRef.Name)
	case s.CSI != nil:
		exact(s.CSI.NodePublishSecretRef)
		exact(s.CSI.NodeStageSecretRef)
		exact(s.CSI.NodeExpandSecretRef)
	}
	return secrets
}
