package registry

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Reference is an object that a pod refers to, in its own namespace.
type Reference struct{ Plural, Name string }

// PodReferences are the objects that a pod needs to run, which its node may therefore read: service account, secrets,
// config maps, claims of volumes and of devices. One may come several times. Claims that have yet to be made for the pod
// are left out, unless their name is known beforehand.
func PodReferences(pod *corev1.Pod) iter.Seq[Reference] {
	return func(yield func(Reference) bool) {
		r := references{yield: yield}
		r.to("serviceaccounts", pod.Spec.ServiceAccountName)
		for _, s := range pod.Spec.ImagePullSecrets {
			r.to("secrets", s.Name)
		}
		for i := range pod.Spec.InitContainers {
			r.environment(pod.Spec.InitContainers[i].EnvFrom, pod.Spec.InitContainers[i].Env)
		}
		for i := range pod.Spec.Containers {
			r.environment(pod.Spec.Containers[i].EnvFrom, pod.Spec.Containers[i].Env)
		}
		for i := range pod.Spec.EphemeralContainers {
			r.environment(pod.Spec.EphemeralContainers[i].EnvFrom, pod.Spec.EphemeralContainers[i].Env)
		}
		for i := range pod.Spec.Volumes {
			r.volume(pod, &pod.Spec.Volumes[i])
		}
		r.devices(pod)
	}
}

// references hands them on until nobody wants more.
type references struct {
	yield func(Reference) bool
	done  bool
}

func (r *references) to(plural, name string) {
	if name != "" && !r.done {
		r.done = !r.yield(Reference{plural, name})
	}
}

func (r *references) secret(ref *corev1.LocalObjectReference) {
	if ref != nil {
		r.to("secrets", ref.Name)
	}
}

func (r *references) environment(from []corev1.EnvFromSource, env []corev1.EnvVar) {
	for i := range from {
		if s := from[i].SecretRef; s != nil {
			r.to("secrets", s.Name)
		}
		if m := from[i].ConfigMapRef; m != nil {
			r.to("configmaps", m.Name)
		}
	}
	for i := range env {
		from := env[i].ValueFrom
		if from != nil && from.SecretKeyRef != nil {
			r.to("secrets", from.SecretKeyRef.Name)
		}
		if from != nil && from.ConfigMapKeyRef != nil {
			r.to("configmaps", from.ConfigMapKeyRef.Name)
		}
	}
}

func (r *references) volume(pod *corev1.Pod, v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		r.to("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		r.to("configmaps", v.ConfigMap.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				r.to("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				r.to("configmaps", s.ConfigMap.Name)
			}
		}
	case v.PersistentVolumeClaim != nil:
		r.to("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		r.to("persistentvolumeclaims", pod.Name+"-"+v.Name)
	default:
		r.foreignVolume(v)
	}
}

// foreignVolume is the secret with which a storage system is entered.
func (r *references) foreignVolume(v *corev1.Volume) {
	switch {
	case v.AzureFile != nil:
		r.to("secrets", v.AzureFile.SecretName)
	case v.CephFS != nil:
		r.secret(v.CephFS.SecretRef)
	case v.Cinder != nil:
		r.secret(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		r.secret(v.FlexVolume.SecretRef)
	case v.RBD != nil:
		r.secret(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		r.secret(v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		r.secret(v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		r.secret(v.StorageOS.SecretRef)
	case v.CSI != nil:
		r.secret(v.CSI.NodePublishSecretRef)
	}
}

// devices are the claims named in the spec, and those that were made for the pod, which its status names.
func (r *references) devices(pod *corev1.Pod) {
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			r.to("resourceclaims", *c.ResourceClaimName)
			continue
		}
		for _, made := range pod.Status.ResourceClaimStatuses {
			if c.ResourceClaimTemplateName != nil && made.Name == c.Name && made.ResourceClaimName != nil {
				r.to("resourceclaims", *made.ResourceClaimName)
			}
		}
	}
	if made := pod.Status.ExtendedResourceClaimStatus; made != nil {
		r.to("resourceclaims", made.ResourceClaimName)
	}
}
