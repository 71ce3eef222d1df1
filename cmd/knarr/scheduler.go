package main

import (
	"context"
	"log/slog"
	"math/rand/v2"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/scheduler"
	"github.com/knarr-dev/knarr/server"
)

// schedulers is the identity of the scheduler.
func schedulers() registry.User { return registry.User{Name: "system:kube-scheduler"} }

// runScheduler runs the scheduler in this process until ctx ends.
func runScheduler(ctx context.Context, s *server.Server, factory informers.SharedInformerFactory, log *slog.Logger) error {
	client, err := kubernetes.NewForConfig(within(s, schedulers()))
	if err != nil {
		return err
	}
	told := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	defer told.Shutdown()
	if err := told.StartRecordingToSinkWithContext(klog.NewContext(ctx, klog.Background())); err != nil {
		return err
	}
	return scheduler.New(&scheduler.Config{
		Client: client, Informers: factory, Clock: clock.RealClock{}, Random: rand.IntN, Log: log,
		EventsFor: func(name string) events.EventRecorder { return told.NewRecorder(scheme.Scheme, name) },
	}).Run(ctx)
}
