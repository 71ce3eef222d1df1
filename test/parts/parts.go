// Package parts runs controllers, scheduler and nodes inside a test, each under its own identity, over an API server that may
// be anybody's and a transport that may be the test's own.
//
// The API server has to let the identity of the given configuration impersonate: each part, controller and node then acts with
// its own rights and no others.
package parts

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/controllers"
	"github.com/knarr-dev/knarr/nodeagent"
	"github.com/knarr-dev/knarr/scheduler"
)

// Plant is what parts are run with.
type Plant struct {
	// Server is where the API is and how it is reached; Through, if it is not nil, takes the place of its connections.
	Server  *rest.Config
	Through http.RoundTripper
	Clock   clock.WithTickerAndDelayedExecution
	Log     *slog.Logger
}

// Connections are those of a configuration, to be wrapped and given to a Plant.
func Connections(server *rest.Config) (http.RoundTripper, error) { return rest.TransportFor(server) }

// As is the configuration of an identity.
func (p *Plant) As(user string, groups ...string) *rest.Config {
	c := &rest.Config{Host: p.Server.Host, Transport: p.Through, QPS: -1, Impersonate: rest.ImpersonationConfig{UserName: user, Groups: groups},
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"}}
	if p.Through == nil {
		c = rest.CopyConfig(p.Server)
		c.QPS, c.Impersonate = -1, rest.ImpersonationConfig{UserName: user, Groups: groups}
	}
	return c
}

// account is a service account of kube-system; without a name, the controllers as one.
func (p *Plant) account(name string) *rest.Config {
	if name == "" {
		return p.As("system:kube-controller-manager")
	}
	return p.As("system:serviceaccount:"+metav1.NamespaceSystem+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+metav1.NamespaceSystem)
}

// Controllers runs controllers until ctx ends; adjust, if it is not nil, changes what they are given.
func (p *Plant) Controllers(ctx context.Context, adjust func(*controllers.Config)) error {
	own := p.account("")
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(own)
	if err != nil {
		return err
	}
	told := record.NewBroadcaster(record.WithContext(ctx))
	defer told.Shutdown()
	told.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	factory := informers.NewSharedInformerFactory(client, 0)
	// The informers are told to end before they are waited for.
	defer factory.Shutdown()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := &controllers.Config{
		ClientFor:   func(name string) kubernetes.Interface { return kubernetes.NewForConfigOrDie(p.account(name)) },
		MetadataFor: func(name string) metadata.Interface { return metadata.NewForConfigOrDie(p.account(name)) },
		Metadata:    meta, Discovery: client.Discovery(), Informers: factory, Clock: p.Clock, Log: p.Log,
		EventsFrom: func(name string) record.EventRecorder {
			return told.NewRecorder(scheme.Scheme, corev1.EventSource{Component: name})
		},
	}
	if adjust != nil {
		adjust(c)
	}
	return controllers.Run(ctx, c)
}

// Scheduler runs the scheduler until ctx ends.
func (p *Plant) Scheduler(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(p.As("system:kube-scheduler"))
	if err != nil {
		return err
	}
	told := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	defer told.Shutdown()
	if err := told.StartRecordingToSinkWithContext(klog.NewContext(ctx, klog.Background())); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	defer factory.Shutdown()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := scheduler.New(&scheduler.Config{
		Client: client, Informers: factory, Clock: p.Clock, Random: rand.IntN, Log: p.Log,
		EventsFor: func(name string) events.EventRecorder { return told.NewRecorder(scheme.Scheme, name) },
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Runtime is a new simulated one. What it runs outlasts an agent that is given it.
func (p *Plant) Runtime(pods string) *nodeagent.Simulated {
	return nodeagent.NewSimulated(p.Clock, netip.MustParsePrefix(pods))
}

// Node runs the agent of a node until ctx ends. ready is called when the node is registered.
func (p *Plant) Node(ctx context.Context, name string, runtime *nodeagent.Simulated, capacity corev1.ResourceList, ready func()) error {
	client, err := kubernetes.NewForConfig(p.As("system:node:"+name, "system:nodes"))
	if err != nil {
		return err
	}
	told := record.NewBroadcaster(record.WithContext(ctx))
	defer told.Shutdown()
	told.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return nodeagent.New(nodeagent.Config{
		Nodes: []string{name}, Client: client, Runtime: runtime, Prober: runtime, Hooks: runtime, Logs: runtime,
		Addresses: func(node string) []corev1.NodeAddress {
			return []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: node}}
		},
		Events: func(node string) record.EventRecorder {
			return told.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node})
		},
		Clock: p.Clock, Log: p.Log, Capacity: capacity, Version: "v1.36.3", LeasePeriod: 10 * time.Second,
	}).Run(ctx, ready)
}
