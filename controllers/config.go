package controllers

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// Config is what the controllers are given for one term: from the election that one process wins until it ends.
type Config struct {
	// ClientFor is a client that acts as a service account of kube-system: each controller has its own, and the rights
	// of that account only. An empty name is the identity of the controllers as one.
	ClientFor func(account string) kubernetes.Interface
	// MetadataFor is the same for resources of any kind, of whose objects the metadata alone are of interest.
	MetadataFor func(account string) metadata.Interface
	// Metadata reads what was written when an answer was lost.
	Metadata metadata.Interface
	// Discovery tells what resources there are.
	Discovery discovery.DiscoveryInterface
	// SignToken signs the token of an account that lies in a Secret; nil if nobody does.
	SignToken func(ctx context.Context, account *corev1.ServiceAccount, secret string) (string, error)
	// RootCA is what pods verify the API server with, in PEM.
	RootCA []byte
	// SigningCertFile and SigningKeyFile are the cluster's authority, which signs certificates of kubelets and others;
	// none are signed if they are empty.
	SigningCertFile, SigningKeyFile string
	// ClusterCIDRs are the ranges out of which nodes get theirs for pods, one of a family; nodes get none if there are none.
	ClusterCIDRs []netip.Prefix
	// ServiceRanges are not given to nodes, if they lie in ClusterCIDRs.
	ServiceRanges []netip.Prefix
	// NodeMaskIPv4 and NodeMaskIPv6 are the lengths of the prefixes of nodes' ranges; zero is upstream's 24 and 64.
	NodeMaskIPv4, NodeMaskIPv6 int
	// NodeGrace is how long a node may be silent; zero is upstream's 50 seconds.
	NodeGrace time.Duration
	// EndedPodsKept is how many pods that have ended stay; zero is upstream's 12,500, a negative number is all.
	EndedPodsKept int
	// CertificateLife is how long the certificates that are signed live at most; zero is upstream's year.
	CertificateLife time.Duration
	// Workers are how many keys of a controller are worked on at a time, where it is not what the table says.
	Workers map[string]int
	// Metrics takes counts of the queues; nil if nobody wants them.
	Metrics prometheus.Registerer
	// Check is given each controller that runs, and what is wrong if it does not any more; nil if nobody asks.
	Check func(controller string, of func() error)
	// LocalVolumes is the folder, on each node, below which volumes of LocalPathProvisioner lie; none are made if it is empty.
	LocalVolumes string
	// Informers are shared with the other parts of the process; all are of whole resources.
	Informers informers.SharedInformerFactory
	// EventsFrom takes what people are told of, in the name of a controller.
	EventsFrom func(controller string) record.EventRecorder
	Clock      clock.WithTickerAndDelayedExecution
	Log        *slog.Logger
	// Controllers are the names of those to run; "*" is all that are on by default, "-name" leaves one out.
	Controllers []string

	mu      sync.Mutex // guards the fields below
	sources map[reflect.Type]*Source
	metrics *metrics
	all     *everything // nil if no controller is about everything
}

// measures adds a controller's own metrics, if somebody wants any.
func (c *Config) measures(all ...prometheus.Collector) {
	if c.Metrics != nil {
		c.Metrics.MustRegister(all...)
	}
}
