package registry

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Fields of features that Kubernetes 1.36 has off by default do not exist for users: they are dropped, unless the stored
// object already uses the feature (a cluster that had it on wrote it). What is absent is not written to: the parts of
// the object that a door does not change are the old object's.

// dropPodTemplateFields drops from a template; old is nil on create.
func dropPodTemplateFields(t, old *corev1.PodTemplateSpec) {
	var oldSpec *corev1.PodSpec
	if old != nil {
		oldSpec = &old.Spec
	}
	dropPodSpecFields(&t.Spec, oldSpec)
}

// dropPodSpecFields drops from a pod's spec; old is nil on create.
func dropPodSpecFields(s, old *corev1.PodSpec) {
	if old == nil {
		old = &corev1.PodSpec{}
	}
	if old.SchedulingGroup == nil {
		s.SchedulingGroup = nil // GenericWorkload
	}
	dropProjections(s, old)
	dropStopSignals(s, old)
}

// dropProjections clears sources of projected volumes: ClusterTrustBundleProjection, PodCertificateRequest.
func dropProjections(s, old *corev1.PodSpec) {
	var bundles, certificates bool
	for p := range eachProjection(old) {
		bundles = bundles || p.ClusterTrustBundle != nil
		certificates = certificates || p.PodCertificate != nil
	}
	for p := range eachProjection(s) {
		if !bundles && p.ClusterTrustBundle != nil {
			p.ClusterTrustBundle = nil
		}
		if !certificates && p.PodCertificate != nil {
			p.PodCertificate = nil
		}
	}
}

func eachProjection(s *corev1.PodSpec) iter.Seq[*corev1.VolumeProjection] {
	return func(yield func(*corev1.VolumeProjection) bool) {
		for _, v := range s.Volumes {
			if v.Projected == nil {
				continue
			}
			for i := range v.Projected.Sources {
				if !yield(&v.Projected.Sources[i]) {
					return
				}
			}
		}
	}
}

// dropStopSignals clears lifecycle.stopSignal (ContainerStopSignals), and the lifecycle that held nothing else.
func dropStopSignals(s, old *corev1.PodSpec) {
	for c := range eachContainer(old) {
		if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
			return
		}
	}
	for c := range eachContainer(s) {
		if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
			continue
		}
		c.Lifecycle.StopSignal = nil
		if *c.Lifecycle == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
}

// dropPodStatusFields drops from a pod's status; old is nil on create.
func dropPodStatusFields(s, old *corev1.PodStatus) {
	if old == nil {
		old = &corev1.PodStatus{}
	}
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 {
		s.NodeAllocatableResourceClaimStatuses = nil // DRANodeAllocatableResources
	}
	for m := range eachMountStatus(old) {
		if m.VolumeStatus != nil {
			return
		}
	}
	for m := range eachMountStatus(s) {
		if m.VolumeStatus != nil {
			m.VolumeStatus = nil // ImageVolumeWithDigest
		}
	}
}

func eachMountStatus(s *corev1.PodStatus) iter.Seq[*corev1.VolumeMountStatus] {
	return func(yield func(*corev1.VolumeMountStatus) bool) {
		for _, statuses := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
			for i := range statuses {
				for j := range statuses[i].VolumeMounts {
					if !yield(&statuses[i].VolumeMounts[j]) {
						return
					}
				}
			}
		}
	}
}
