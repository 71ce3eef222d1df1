package nodeagent

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

// serveSummary tells what pods and their containers use of CPU and memory, and the node as their sum. Of the network and of
// disks nothing is known.
func (a *Agent) serveSummary(w http.ResponseWriter, r *http.Request) {
	s, err := a.summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, s)
}

// pastMeter is a runtime that knows what pods have used which are gone: a node's time does not shrink.
type pastMeter interface{ PastUsage() uint64 }

func (a *Agent) summary(ctx context.Context) (*stats.Summary, error) {
	list, err := a.Runtime.ListPodSandboxStats(ctx, &cri.PodSandboxStatsFilter{})
	if err != nil {
		return nil, err
	}
	used, cpu, memory := map[string]*cri.LinuxPodSandboxStats{}, usageSum{}, usageSum{}
	for _, p := range list {
		used[p.Attributes.Metadata.Uid] = p.Linux
		cpu.now, cpu.total = cpu.now+p.Linux.Cpu.UsageNanoCores.GetValue(), cpu.total+p.Linux.Cpu.UsageCoreNanoSeconds.GetValue()
		memory.now += p.Linux.Memory.WorkingSetBytes.GetValue()
	}
	if past, knows := a.Runtime.(pastMeter); knows {
		cpu.total += past.PastUsage()
	}
	now := metav1.NewTime(a.Clock.Now())
	s := &stats.Summary{Node: stats.NodeStats{NodeName: a.Nodes[0], StartTime: metav1.NewTime(a.begun), CPU: &stats.CPUStats{Time: now, UsageNanoCores: &cpu.now, UsageCoreNanoSeconds: &cpu.total},
		Memory: &stats.MemoryStats{Time: now, UsageBytes: &memory.now, WorkingSetBytes: &memory.now, RSSBytes: &memory.now, PageFaults: new(uint64), MajorPageFaults: new(uint64),
			AvailableBytes: available(a.Capacity, memory.now)}}, Pods: []stats.PodStats{}}
	for _, p := range a.podsAtWork() {
		if u := used[string(p.UID)]; u != nil && p.Status.StartTime != nil && !finished(p.Status.Phase) {
			s.Pods = append(s.Pods, podUsage(p, u))
		}
	}
	return s, nil
}

// usageSum is a rate, or an amount, and what it has come to.
type usageSum struct{ now, total uint64 }

// podUsage is what a pod uses, in the words of the summary.
func podUsage(p *corev1.Pod, u *cri.LinuxPodSandboxStats) stats.PodStats {
	of := stats.PodStats{PodRef: stats.PodReference{Name: p.Name, Namespace: p.Namespace, UID: string(p.UID)}, StartTime: *p.Status.StartTime,
		CPU: cpuStats(u.Cpu), Memory: memoryStats(u.Memory, nil), Containers: []stats.ContainerStats{}}
	since := map[string]metav1.Time{}
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, c := range statuses {
			if c.State.Running != nil {
				since[c.Name] = c.State.Running.StartedAt
			}
		}
	}
	for _, c := range u.Containers {
		name := c.Attributes.Metadata.Name
		if start, runs := since[name]; runs {
			var limits corev1.ResourceList
			if spec := containerNamed(p, name); spec != nil {
				limits = spec.Resources.Limits
			}
			of.Containers = append(of.Containers, stats.ContainerStats{Name: name, StartTime: start, CPU: cpuStats(c.Cpu), Memory: memoryStats(c.Memory, limits)})
		}
	}
	return of
}

func cpuStats(u *cri.CpuUsage) *stats.CPUStats {
	return &stats.CPUStats{Time: nanoTime(u.Timestamp), UsageNanoCores: valueOf(u.UsageNanoCores), UsageCoreNanoSeconds: valueOf(u.UsageCoreNanoSeconds)}
}

func memoryStats(u *cri.MemoryUsage, limits corev1.ResourceList) *stats.MemoryStats {
	return &stats.MemoryStats{Time: nanoTime(u.Timestamp), UsageBytes: valueOf(u.UsageBytes), WorkingSetBytes: valueOf(u.WorkingSetBytes), RSSBytes: valueOf(u.RssBytes),
		PageFaults: valueOf(u.PageFaults), MajorPageFaults: valueOf(u.MajorPageFaults), AvailableBytes: available(limits, u.WorkingSetBytes.GetValue())}
}

// available is what is left of a limit of memory; nil if there is none.
func available(limits corev1.ResourceList, used uint64) *uint64 {
	limit := limits.Memory().Value()
	if limit <= 0 {
		return nil
	}
	return ptr.To(uint64(max(limit-int64(used), 0)))
}

func nanoTime(at int64) metav1.Time { return metav1.Unix(0, at) }

// valueOf is a number; nil if the runtime does not tell it.
func valueOf(v *cri.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

// resourceMetrics tell the same to who measures, at /metrics/resource: metrics-server for example.
func (a *Agent) resourceMetrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(resourceUsage{a})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type resourceUsage struct{ *Agent }

// Describe describes nothing: what there is shows when it is collected.
func (resourceUsage) Describe(chan<- *prometheus.Desc) {}

// Collect takes the summary.
func (u resourceUsage) Collect(to chan<- prometheus.Metric) {
	s, err := u.summary(context.Background())
	failed := 0.0
	if err != nil {
		failed, s = 1, &stats.Summary{}
	}
	one := func(name, help string, kind prometheus.ValueType, value float64, at metav1.Time, labels ...string) {
		m := prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{"container", "pod", "namespace"}[3-len(labels):], nil), kind, value, labels...)
		if !at.IsZero() {
			m = prometheus.NewMetricWithTimestamp(at.Time, m)
		}
		to <- m
	}
	both := func(of string, cpu *stats.CPUStats, memory *stats.MemoryStats, labels ...string) {
		if cpu != nil && cpu.UsageCoreNanoSeconds != nil {
			one(of+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+of+" in core-seconds", prometheus.CounterValue, float64(*cpu.UsageCoreNanoSeconds)/1e9, cpu.Time, labels...)
		}
		if memory != nil && memory.WorkingSetBytes != nil {
			one(of+"_memory_working_set_bytes", "Current working set of the "+of+" in bytes", prometheus.GaugeValue, float64(*memory.WorkingSetBytes), memory.Time, labels...)
		}
	}
	both("node", s.Node.CPU, s.Node.Memory)
	for _, p := range s.Pods {
		both("pod", p.CPU, p.Memory, p.PodRef.Name, p.PodRef.Namespace)
		for _, c := range p.Containers {
			labels := []string{c.Name, p.PodRef.Name, p.PodRef.Namespace}
			both("container", c.CPU, c.Memory, labels...)
			one("container_start_time_seconds", "Start time of the container since unix epoch in seconds", prometheus.GaugeValue, float64(c.StartTime.UnixNano())/1e9, metav1.Time{}, labels...)
		}
	}
	one("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", prometheus.GaugeValue, failed, metav1.Time{})
}
