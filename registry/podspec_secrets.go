package registry

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// PodSecrets visits the names of the Secrets that a pod refers to by itself: what its claims and volumes refer to is not
// among them. A name may come several times.
func PodSecrets(spec *corev1.PodSpec) iter.Seq[string] {
	return func(yield func(string) bool) {
		named := func(name string) bool { return name == "" || yield(name) }
		for _, ref := range spec.ImagePullSecrets {
			if !named(ref.Name) {
				return
			}
		}
		for c := range eachContainer(spec) {
			for name := range containerSecrets(c) {
				if !named(name) {
					return
				}
			}
		}
		for i := range spec.Volumes {
			for name := range volumeSecrets(&spec.Volumes[i].VolumeSource) {
				if !named(name) {
					return
				}
			}
		}
	}
}

// containerSecrets are those that a container's environment comes from.
func containerSecrets(c *corev1.Container) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil && !yield(from.SecretRef.Name) {
				return
			}
		}
		for _, v := range c.Env {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil && !yield(v.ValueFrom.SecretKeyRef.Name) {
				return
			}
		}
	}
}

// volumeSecrets are those that a volume shows, or is mounted with.
func volumeSecrets(v *corev1.VolumeSource) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch {
		case v.Secret != nil:
			yield(v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.Secret != nil && !yield(s.Secret.Name) {
					return
				}
			}
		case v.AzureFile != nil:
			yield(v.AzureFile.SecretName)
		default:
			if ref := mountSecret(v); ref != nil {
				yield(ref.Name)
			}
		}
	}
}

// mountSecret is the Secret of the pod's namespace that a volume is mounted with; nil if it needs none.
func mountSecret(v *corev1.VolumeSource) *corev1.LocalObjectReference {
	switch {
	case v.CephFS != nil:
		return v.CephFS.SecretRef
	case v.Cinder != nil:
		return v.Cinder.SecretRef
	case v.FlexVolume != nil:
		return v.FlexVolume.SecretRef
	case v.RBD != nil:
		return v.RBD.SecretRef
	case v.ScaleIO != nil:
		return v.ScaleIO.SecretRef
	case v.ISCSI != nil:
		return v.ISCSI.SecretRef
	case v.StorageOS != nil:
		return v.StorageOS.SecretRef
	case v.CSI != nil:
		return v.CSI.NodePublishSecretRef
	}
	return nil
}
