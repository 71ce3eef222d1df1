package encryption

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/component-base/metrics/legacyregistry"

	dto "github.com/prometheus/client_model/go"
)

// Counts are the metrics of sealing and opening, under upstream's names.
type Counts struct {
	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
}

// NewCounts returns metrics at zero.
func NewCounts() *Counts {
	const namespace, subsystem = "apiserver", "storage"
	return &Counts{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "transformation_operations_total",
			Help: "Values sealed (to_storage) and opened (from_storage), by resource, prefix and outcome."},
			[]string{"resource", "transformation_type", "transformer_prefix", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "transformation_duration_seconds",
			Help: "Time in seconds that it took to seal or open a value.", Buckets: prometheus.ExponentialBuckets(5e-6, 2, 25)},
			[]string{"transformation_type", "transformer_prefix"}),
	}
}

// Collectors are the metrics.
func (c *Counts) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.operations, c.durations}
}

// count counts one operation by the provider with the prefix.
func (c *Counts) count(r Resource, what, prefix string, start time.Time, err error) {
	c.operations.WithLabelValues(r.Name.String(), what, prefix, statusOf(err)).Inc()
	if err == nil {
		c.durations.WithLabelValues(what, prefix).Observe(time.Since(start).Seconds())
	}
}

// sealer is the prefix of the provider that seals, also where it cannot.
func sealer(by value.Transformer) string {
	if r, ok := by.(ring); ok && r.members[0].prefix != "" {
		return r.members[0].prefix
	}
	return "identity"
}

// prefixOf is the prefix of the provider that has sealed a value: one of a few, whatever stands in etcd. The name of a KMS
// plugin is part of it if the value was opened, for then it is configured.
func prefixOf(sealed []byte, err error) string {
	if !Marked(sealed) {
		return "identity"
	}
	for _, provider := range []string{"aescbc:v1", "aesgcm:v1", "secretbox:v1", "kms:v2"} {
		prefix := "k8s:enc:" + provider + ":"
		rest, ok := bytes.CutPrefix(sealed, []byte(prefix))
		if ok && provider == "kms:v2" && err == nil {
			name, _, _ := bytes.Cut(rest, []byte(":"))
			return prefix + string(name) + ":"
		}
		if ok {
			return prefix
		}
	}
	return "unknown"
}

func statusOf(err error) string {
	var rpc interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return codes.OK.String()
	case errors.As(err, &rpc):
		return rpc.GRPCStatus().Code().String()
	}
	return "unknown-non-grpc"
}

// PluginMetrics gathers what the library of KMS plugins counts by itself.
func PluginMetrics() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	var kept []*dto.MetricFamily
	for _, m := range all {
		if strings.HasPrefix(m.GetName(), "apiserver_envelope_encryption_") {
			kept = append(kept, m)
		}
	}
	return kept, err
}
