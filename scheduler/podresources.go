package scheduler

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podResources are what each pod asks for and may have at most, as the scheduler reckons, under upstream's names. There are as
// many of them as there are pods and resources: they are told at a path of their own, and only to who asks.
type podResources struct {
	pods            corelisters.PodLister
	requests, limit *prometheus.Desc
}

func podResourcesHandler(pods corelisters.PodLister) http.Handler {
	by := []string{"namespace", "pod", "node", "scheduler", "priority", "resource", "unit"}
	r := prometheus.NewRegistry()
	r.MustRegister(&podResources{pods,
		prometheus.NewDesc("kube_pod_resource_request", "What a pod that has not ended asks for.", by, nil),
		prometheus.NewDesc("kube_pod_resource_limit", "What a pod that has not ended may have at most.", by, nil)})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// Describe names the metrics.
func (p *podResources) Describe(out chan<- *prometheus.Desc) {
	out <- p.requests
	out <- p.limit
}

// Collect goes through all pods.
func (p *podResources) Collect(out chan<- prometheus.Metric) {
	all, _ := p.pods.List(labels.Everything()) // a lister of memory
	for _, pod := range all {
		if pod.Spec.NodeName != "" && isFinished(pod) {
			continue
		}
		priority := ""
		if pod.Spec.Priority != nil {
			priority = strconv.Itoa(int(*pod.Spec.Priority))
		}
		tell := func(of *prometheus.Desc, list corev1.ResourceList) {
			for name, q := range list {
				if !q.IsZero() {
					out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, q.AsApproximateFloat64(), pod.Namespace, pod.Name, pod.Spec.NodeName,
						pod.Spec.SchedulerName, priority, string(name), unitOf(name))
				}
			}
		}
		tell(p.requests, resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}))
		tell(p.limit, resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}))
	}
}

// unitOf is the unit of a resource; empty if it has none.
func unitOf(name corev1.ResourceName) string {
	switch {
	case name == corev1.ResourceCPU:
		return "cores"
	case name == corev1.ResourceMemory, name == corev1.ResourceStorage, name == corev1.ResourceEphemeralStorage, strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		return "bytes"
	case strings.HasPrefix(string(name), corev1.ResourceAttachableVolumesPrefix):
		return "integer"
	}
	return ""
}
