package nodeagent

import (
	"context"
	"maps"
	"slices"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A simulated container uses as much as is said of it, at every moment that it runs: nothing, if nothing is said.

// spent is CPU time that was used, in nanoseconds, up to a moment; what comes later depends on the script.
type spent struct {
	nanoseconds uint64
	until       time.Time
}

// upTo is what will have been used at a moment.
func (s spent) upTo(now time.Time, nanocores uint64) spent {
	if took := now.Sub(s.until); took > 0 {
		s.nanoseconds += uint64(float64(nanocores) * took.Seconds())
	}
	return spent{s.nanoseconds, now}
}

// settle counts what a running container has used so far, before its script changes or it ends. The runtime is locked.
func (s *Simulated) settle(c *simulatedContainer) {
	c.spent = c.spent.upTo(s.clock.Now(), c.script.cpu)
}

// ListPodSandboxStats tells what pods use that run.
func (s *Simulated) ListPodSandboxStats(context.Context, *cri.PodSandboxStatsFilter) (list []*cri.PodSandboxStats, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for _, id := range slices.Sorted(maps.Keys(s.sandboxes)) {
		if p := s.sandboxes[id]; !p.stopped {
			list = append(list, p.usage(now))
		}
	}
	return list, nil
}

// usage is what a pod uses: the sum of its containers, of which those that have ended have used their time.
func (p *simulatedPod) usage(now time.Time) *cri.PodSandboxStats {
	var rate, memory uint64
	time := p.past
	linux := &cri.LinuxPodSandboxStats{}
	for _, c := range p.containers {
		used := c.spent
		if c.status.State == cri.ContainerState_CONTAINER_RUNNING {
			used = used.upTo(now, c.script.cpu)
			linux.Containers = append(linux.Containers, &cri.ContainerStats{Attributes: &cri.ContainerAttributes{Id: c.status.Id, Metadata: c.status.Metadata},
				Cpu: cpuUsage(now, c.script.cpu, used.nanoseconds), Memory: memoryUsage(now, c.script.memory)})
			rate, memory = rate+c.script.cpu, memory+c.script.memory
		}
		time += used.nanoseconds
	}
	linux.Cpu, linux.Memory = cpuUsage(now, rate, time), memoryUsage(now, memory)
	return &cri.PodSandboxStats{Attributes: &cri.PodSandboxAttributes{Id: p.id, Metadata: p.config.Metadata}, Linux: linux}
}

func cpuUsage(now time.Time, nanocores, nanoseconds uint64) *cri.CpuUsage {
	return &cri.CpuUsage{Timestamp: now.UnixNano(), UsageNanoCores: &cri.UInt64Value{Value: nanocores}, UsageCoreNanoSeconds: &cri.UInt64Value{Value: nanoseconds}}
}

// memoryUsage is memory that a program has written to: all of it counts, however it is counted.
func memoryUsage(now time.Time, bytes uint64) *cri.MemoryUsage {
	value := &cri.UInt64Value{Value: bytes}
	return &cri.MemoryUsage{Timestamp: now.UnixNano(), WorkingSetBytes: value, UsageBytes: value, RssBytes: value, PageFaults: &cri.UInt64Value{}, MajorPageFaults: &cri.UInt64Value{}}
}

// PastUsage is the CPU time, in nanoseconds, of pods that were stopped.
func (s *Simulated) PastUsage() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.past
}
