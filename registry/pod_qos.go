package registry

import (
	corev1 "k8s.io/api/core/v1"
)

// PodQOS is the class that a pod was given, or would be given now.
func PodQOS(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	return computeQOS(p)
}

// computeQOS finds the class by CPU and memory: BestEffort asks for nothing, Guaranteed requests exactly its limits of
// both everywhere, everything else is Burstable. Resources of the pod itself count in place of its containers'.
func computeQOS(p *corev1.Pod) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	if r := p.Spec.Resources; r != nil {
		addCompute(requests, r.Requests)
		if found := addCompute(limits, r.Limits); len(r.Limits) > 0 && found < 2 {
			guaranteed = false
		}
	} else {
		// Ephemeral containers have no resources.
		for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range containers {
				addCompute(requests, containers[i].Resources.Requests)
				if addCompute(limits, containers[i].Resources.Limits) < 2 {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case len(requests) == 0 && len(limits) == 0:
		return corev1.PodQOSBestEffort
	case guaranteed && equal(requests, limits):
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// addCompute adds the CPU and memory of more to sum, and returns how many of the two it names with more than zero.
func addCompute(sum, more corev1.ResourceList) int {
	found := 0
	for _, name := range [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		quantity, named := more[name]
		if !named || quantity.Sign() <= 0 {
			continue
		}
		found++
		total := quantity.DeepCopy()
		total.Add(sum[name])
		sum[name] = total
	}
	return found
}
