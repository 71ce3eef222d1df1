package server

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/knarr-dev/knarr/registry/store"
)

// storeMetrics shows the figures of the watch caches and of etcd under upstream's names, read when they are asked for.
func storeMetrics(dbs []*store.DB) prometheus.Collector {
	byResource := []string{"group", "resource"}
	describe := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &storeCollector{
		dbs:      dbs,
		objects:  describe("apiserver_resource_objects", "Objects in the watch cache.", byResource),
		bytes:    describe("apiserver_resource_size_estimate_bytes", "Encoded size of the objects in the watch cache.", byResource),
		watches:  describe("apiserver_longrunning_watches", "Watches that are open on the watch cache.", byResource),
		events:   describe("apiserver_watch_cache_events_received_total", "Changes that etcd has reported to the watch cache.", byResource),
		lists:    describe("apiserver_cache_list_total", "Lists that were answered from the watch cache.", byResource),
		revision: describe("apiserver_watch_cache_resource_version", "Revision that the watch cache has reached.", byResource),
		filled:   describe("apiserver_watch_cache_initialized", "1 once the watch cache has been read from etcd.", byResource),
		size:     describe("apiserver_storage_size_bytes", "Size of etcd's database file.", []string{"storage_cluster_id"}),
	}
}

type storeCollector struct {
	dbs                                                            []*store.DB
	objects, bytes, watches, events, lists, revision, filled, size *prometheus.Desc
}

// Describe sends the metrics' descriptions.
func (c *storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.objects, c.bytes, c.watches, c.events, c.lists, c.revision, c.filled, c.size} {
		out <- d
	}
}

// Collect sends today's figures.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	for i, db := range c.dbs {
		for _, s := range db.Stats() {
			c.collect(out, s)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if file, _, err := db.Size(ctx); err == nil {
			out <- prometheus.MustNewConstMetric(c.size, prometheus.GaugeValue, float64(file), fmt.Sprintf("storage-cluster-%d", i))
		}
		cancel()
	}
}

// collect sends the figures of one watch cache.
func (c *storeCollector) collect(out chan<- prometheus.Metric, s store.Stats) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
		out <- prometheus.MustNewConstMetric(d, kind, value, s.Resource.Group, s.Resource.Resource)
	}
	filled := 0.0
	if s.Filled {
		filled = 1
		send(c.objects, prometheus.GaugeValue, float64(s.Objects))
		send(c.bytes, prometheus.GaugeValue, float64(s.Bytes))
		send(c.revision, prometheus.GaugeValue, float64(s.Revision))
	}
	send(c.filled, prometheus.GaugeValue, filled)
	send(c.watches, prometheus.GaugeValue, float64(s.Watches))
	send(c.events, prometheus.CounterValue, float64(s.Events))
	send(c.lists, prometheus.CounterValue, float64(s.Lists))
}
