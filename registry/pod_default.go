package registry

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
)

// defaultPod fills a pod: what only pods get, then what templates get too.
func defaultPod(p *corev1.Pod) {
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			defaultRequests(&containers[i].Resources)
			if p.Spec.HostNetwork {
				defaultHostPorts(containers[i].Ports)
			}
		}
	}
	if r := p.Spec.Resources; r != nil {
		defaultHugePageLimits(r, p)
		defaultPodRequests(r, p)
	}
	fillPointer(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	defaultPodSpec(&p.Spec)
	defaultPodStatus(&p.Status)
}

// defaultRequests requests what is limited and not requested.
func defaultRequests(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		request(&r.Requests, name, limit)
	}
}

// request adds a quantity to a list that does not name the resource yet.
func request(list *corev1.ResourceList, name corev1.ResourceName, quantity resource.Quantity) {
	if _, found := (*list)[name]; found {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = quantity.DeepCopy()
}

// defaultHostPorts: on the node's network a container's port is the node's.
func defaultHostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		fill(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// defaultHugePageLimits limits a pod with resources of its own to the huge pages that its containers may use together,
// unless it requests some itself.
func defaultHugePageLimits(r *corev1.ResourceRequirements, p *corev1.Pod) {
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	for name, sum := range podresource.AggregateContainerLimits(p, podresource.PodResourcesOptions{}) {
		if _, requested := r.Requests[name]; isHugePages(name) && !requested {
			request(&r.Limits, name, sum)
		}
	}
}

// defaultPodRequests has a pod with limits of its own request what its containers request together, and of other
// resources as much as the limit.
func defaultPodRequests(r *corev1.ResourceRequirements, p *corev1.Pod) {
	if len(r.Limits) == 0 {
		return
	}
	for name, sum := range podresource.AggregateContainerRequests(p, podresource.PodResourcesOptions{}) {
		if podresource.IsSupportedPodLevelResource(name) && !isHugePages(name) { // huge pages cannot be overcommitted
			request(&r.Requests, name, sum)
		}
	}
	for name, limit := range r.Limits {
		if podresource.IsSupportedPodLevelResource(name) {
			request(&r.Requests, name, limit)
		}
	}
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func defaultPodStatus(s *corev1.PodStatus) {
	for _, statuses := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range statuses {
			defaultResourceList(statuses[i].AllocatedResources)
			if statuses[i].Resources != nil {
				defaultRequirements(statuses[i].Resources)
			}
		}
	}
	defaultResourceList(s.AllocatedResources)
	if s.Resources != nil {
		defaultRequirements(s.Resources)
	}
}
