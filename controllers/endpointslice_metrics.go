package controllers

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/utils/ptr"
)

// sliceMetrics are how many endpoints and slices Services have, and how many of them a turn adds and removes, under upstream's names.
// The library counts too, but for the whole process and for as long as it is asked by one caller; here each turn is one, and each
// term of the controllers counts anew.
type sliceMetrics struct {
	added, removed prometheus.Histogram

	mu       sync.Mutex // guards services
	services map[Key]sliceCount
}

// sliceCount is what a Service has.
type sliceCount struct {
	endpoints, slices int
	fewest            int    // slices that would do
	distribution      string // of its traffic, if it wants one
}

const sliceSubsystem = "endpoint_slice_controller"

func newSliceMetrics(c *Config) *sliceMetrics {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Subsystem: sliceSubsystem, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(2, 2, 15)})
	}
	m := &sliceMetrics{services: map[Key]sliceCount{},
		added:   histogram("endpoints_added_per_sync", "Endpoints that the turn of a Service has added."),
		removed: histogram("endpoints_removed_per_sync", "Endpoints that the turn of a Service has removed.")}
	c.measures(m, m.added, m.removed)
	return m
}

// turned notes what a turn has made of a Service's slices.
func (m *sliceMetrics) turned(service *corev1.Service, before, now []*discoveryv1.EndpointSlice) {
	had, has := endpointsIn(before), endpointsIn(now)
	m.added.Observe(float64(without(has, had)))
	m.removed.Observe(float64(without(had, has)))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services[KeyOf(service)] = countSlices(service, now)
}

// gone forgets a Service that has no slices of this controller any more.
func (m *sliceMetrics) gone(k Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, k)
}

func countSlices(service *corev1.Service, slices []*discoveryv1.EndpointSlice) sliceCount {
	count := sliceCount{slices: len(slices)}
	byPorts := map[sliceutil.PortMapKey]int{}
	for _, s := range slices {
		count.endpoints += len(s.Endpoints)
		byPorts[sliceutil.NewPortMapKey(s.Ports)] += len(s.Endpoints)
	}
	for _, n := range byPorts {
		count.fewest += (n + endpointsPerSlice - 1) / endpointsPerSlice
	}
	count.fewest = max(count.fewest, 1) // a Service without endpoints has an empty one
	if !wantsHints(service) {
		count.distribution = ptr.Deref(service.Spec.TrafficDistribution, "")
	}
	return count
}

// wantsHints reports that a Service has its traffic distributed by the shares of zones, whatever else it says.
func wantsHints(service *corev1.Service) bool {
	mode, ok := service.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if !ok {
		mode = service.Annotations[corev1.AnnotationTopologyMode]
	}
	return mode == "Auto" || mode == "auto"
}

// endpointsIn are the endpoints of slices, by what does not change of one.
func endpointsIn(slices []*discoveryv1.EndpointSlice) map[sliceEndpoint]bool {
	all := map[sliceEndpoint]bool{}
	for _, s := range slices {
		ports := sliceutil.NewPortMapKey(s.Ports)
		for _, e := range s.Endpoints {
			if len(e.Addresses) > 0 {
				all[sliceEndpoint{ports, e.Addresses[0]}] = true
			}
		}
	}
	return all
}

type sliceEndpoint struct {
	ports   sliceutil.PortMapKey
	address string
}

// without counts what is in one set and not in the other.
func without(in, notIn map[sliceEndpoint]bool) (n int) {
	for e := range in {
		if !notIn[e] {
			n++
		}
	}
	return n
}

// Describe and Collect show what is so at the moment.
func (m *sliceMetrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect adds up what the Services have.
func (m *sliceMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all sliceCount
	distributions := map[string]int{}
	for _, s := range m.services {
		all.endpoints, all.slices, all.fewest = all.endpoints+s.endpoints, all.slices+s.slices, all.fewest+s.fewest
		if s.distribution != "" {
			distributions[s.distribution]++
		}
	}
	tell := func(name, help string, value int, labels ...string) {
		var values []string
		if len(labels) > 0 {
			labels, values = labels[:1], labels[1:]
		}
		desc := prometheus.NewDesc(prometheus.BuildFQName("", sliceSubsystem, name), help, labels, nil)
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), values...)
	}
	tell("endpoints_desired", "Endpoints that Services have.", all.endpoints)
	tell("num_endpoint_slices", "Slices that Services have.", all.slices)
	tell("desired_endpoint_slices", "Slices that would do for the endpoints that Services have.", all.fewest)
	for distribution, n := range distributions {
		tell("services_count_by_traffic_distribution", "Services that want their traffic distributed in a certain way.", n, "traffic_distribution", distribution)
	}
}
