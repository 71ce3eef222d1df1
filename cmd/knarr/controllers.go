package main

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/controllers"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
)

// within is a client of the API server in this process: no connection, no encryption, no limit of its own, and protobuf,
// which is what the cache holds.
func within(s *server.Server, user registry.User) *rest.Config {
	return &rest.Config{Host: "http://knarr", Transport: s.Transport(user), QPS: -1, UserAgent: "knarr/" + version,
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"}}
}

// managers is the identity of the controllers as one: it reads, and writes events.
func managers() registry.User { return registry.User{Name: "system:kube-controller-manager"} }

// account is a service account of kube-system; without a name, the controllers as one.
func account(name string) registry.User {
	if name == "" {
		return managers()
	}
	return registry.User{Name: "system:serviceaccount:" + metav1.NamespaceSystem + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + metav1.NamespaceSystem}}
}

// runControllers runs the controllers in this process until ctx ends.
func runControllers(ctx context.Context, s *server.Server, factory informers.SharedInformerFactory, log *slog.Logger) error {
	own := within(s, managers())
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(own)
	if err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	signing, key := s.Authority()
	return controllers.Run(ctx, &controllers.Config{
		SigningCertFile: signing, SigningKeyFile: key,
		ClientFor:   func(name string) kubernetes.Interface { return kubernetes.NewForConfigOrDie(within(s, account(name))) },
		MetadataFor: func(name string) metadata.Interface { return metadata.NewForConfigOrDie(within(s, account(name))) },
		RootCA:      s.RootCA(), SignToken: s.SignToken(), Discovery: client.Discovery(),
		Metadata: meta, Informers: factory, Clock: clock.RealClock{}, Log: log,
		EventsFrom: func(name string) record.EventRecorder {
			return events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: name})
		},
	})
}

// keepRunning starts a part again when it ends before its time.
func keepRunning(ctx context.Context, name string, log *slog.Logger, run func(context.Context) error) {
	for ctx.Err() == nil {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			log.Error("a part has ended and is started again", "part", name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}
