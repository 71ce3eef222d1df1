package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkSchedule is pods a second over 5,000 nodes in ten zones: the cycle and what it leaves behind, without an API.
func BenchmarkSchedule(b *testing.B) {
	small, app := requests("cpu=10m", "memory=10Mi"), labeled("app", "a")
	shapes := map[string][]func(*corev1.Pod){
		"basic":         nil,
		"spread":        {app, spread(zoneKey, 1, corev1.DoNotSchedule), spread(hostname, 1, corev1.ScheduleAnyway)},
		"preferred":     {app, preferNear(10, podTerm(zoneKey, "a"))},
		"affinity":      {app, near(podTerm(zoneKey, "a"))},
		"anti-affinity": {app, apart(podTerm(hostname, "a"))},
	}
	for nodes, percent := range map[string]int32{"some": 0, "all": 100} { // of which a node is chosen
		for shape, options := range shapes {
			b.Run(nodes+"/"+shape, func(b *testing.B) { benchmarkShape(b, percent, append(options, small)) })
		}
	}
}

func benchmarkShape(b *testing.B, percent int32, options []func(*corev1.Pod)) {
	s := crowd(5000, percentage(percent))
	profile := s.profiles[corev1.DefaultSchedulerName]
	placed := 0
	for b.Loop() {
		if placed == 4000 { // as many as a node for each allows
			b.StopTimer()
			for uid := range s.cluster.pods {
				s.cluster.removePod(uid)
			}
			placed = 0
			b.StartTimer()
		}
		s.queue.add(newPod(podOf(fmt.Sprint("p", placed), options...)), profile)
		s.run()
		placed++
	}
	if len(s.queue.parked) > 0 {
		b.Fatalf("%d pods found no node", len(s.queue.parked))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

// BenchmarkPreempt is preemptors a second over 5,000 nodes that are full with 20,000 pods.
func BenchmarkPreempt(b *testing.B) {
	s := crowd(5000)
	for i := range 20000 {
		s.place(podOf(fmt.Sprint("low", i), requests("cpu=1")), fmt.Sprint("n", i%5000))
	}
	d := s.preemptor()
	d.random = func(n int) int { return b.N % n }
	for b.Loop() {
		c := s.cycle(podOf("high", requests("cpu=2"), priority(10)))
		c.dry = true
		_, diagnosis := c.decide()
		if nominated, message := d.Remedy(c, diagnosis); nominated == nil || *nominated == "" {
			b.Fatal(message)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

func percentage(n int32) func(*Config) {
	return func(config *Config) {
		config.Configuration = DefaultConfiguration()
		config.Configuration.PercentageOfNodesToScore = &n
	}
}

func crowd(nodes int, options ...func(*Config)) *stand {
	s := newStand(options...)
	for i := range nodes {
		s.cluster.setNode(nodeOf(fmt.Sprint("n", i), zone(fmt.Sprint("z", i%10)), allocatable("cpu=4", "memory=32Gi", "pods=110")))
	}
	return s
}
