package controllers

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"

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
	all     *everything // nil if no controller is about everything
}
