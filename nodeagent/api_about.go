package nodeagent

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // whoever went away gets nothing
}

// podsAtWork are those on the desk, by namespace and name.
func (a *Agent) podsAtWork() []*corev1.Pod {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	pods := make([]*corev1.Pod, 0, len(a.desk.pods))
	for _, w := range a.desk.pods {
		pods = append(pods, w.pod)
	}
	slices.SortFunc(pods, func(x, y *corev1.Pod) int {
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	return pods
}

func podList() corev1.PodList {
	return corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
}

func (a *Agent) servePods(w http.ResponseWriter, _ *http.Request) {
	list := podList()
	for _, p := range a.podsAtWork() {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, &list)
}

// serveRunningPods answers with pods as the runtime knows them: their names, and the containers that run.
func (a *Agent) serveRunningPods(w http.ResponseWriter, _ *http.Request) {
	list := podList()
	for _, p := range a.podsAtWork() {
		running := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID}}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil {
				running.Spec.Containers = append(running.Spec.Containers, corev1.Container{Name: s.Name, Image: s.ImageID})
			}
		}
		if len(running.Spec.Containers) > 0 {
			list.Items = append(list.Items, running)
		}
	}
	writeJSON(w, &list)
}

// serveConfig answers with what of a kubelet's configuration there is here.
func (a *Agent) serveConfig(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{"kubeletconfig": map[string]any{
		"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "port": a.Port, "maxPods": a.Capacity.Pods().Value(),
		"nodeStatusReportFrequency": statusPeriod.String(), "nodeStatusUpdateFrequency": a.LeasePeriod.String(), "nodeLeaseDurationSeconds": a.leaseSeconds(),
	}})
}

// metricsHandler tells of the agent under upstream's names.
func (a *Agent) metricsHandler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), counted{a})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// counted are numbers that are taken when they are asked for.
type counted struct{ *Agent }

// Describe describes nothing: what there is shows when it is collected.
func (counted) Describe(chan<- *prometheus.Desc) {}

// Collect counts.
func (c counted) Collect(to chan<- prometheus.Metric) {
	tell := func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value, values...)
	}
	for _, node := range c.Nodes {
		tell("kubelet_node_name", "The node's name. The count is always 1.", 1, "node", node)
	}
	pods, states := 0.0, map[string]float64{"created": 0, "running": 0, "exited": 0}
	for _, p := range c.podsAtWork() {
		if !finished(p.Status.Phase) && p.Status.StartTime != nil {
			pods++
		}
		for _, s := range p.Status.ContainerStatuses {
			switch {
			case s.State.Running != nil:
				states["running"]++
			case s.State.Terminated != nil || s.LastTerminationState.Terminated != nil:
				states["exited"]++
			}
		}
	}
	tell("kubelet_running_pods", "Number of pods that have a running pod sandbox", pods)
	for state, n := range states {
		tell("kubelet_running_containers", "Number of containers currently running", n, "container_state", state)
	}
}
