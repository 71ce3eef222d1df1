package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/knarr-dev/knarr/server"
)

// runControlPlane runs the parts that share their informers until ctx ends. If one of them ends before, all end: their
// next term begins with new informers, as it would in processes of their own.
func runControlPlane(ctx context.Context, s *server.Server, log *slog.Logger) error {
	client, err := kubernetes.NewForConfig(within(s, managers()))
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trimmed))
	term, end := context.WithCancel(ctx)
	// The informers are told to end before they are waited for.
	defer factory.Shutdown()
	defer end()
	shared := termInformers{factory, term}
	parts := []func(context.Context, *server.Server, informers.SharedInformerFactory, *slog.Logger) error{runControllers, runScheduler}
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, run := range parts {
		running.Go(func() {
			defer end()
			errs[i] = run(term, s, shared, log)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// termInformers run for the whole term, whichever part starts them.
type termInformers struct {
	informers.SharedInformerFactory
	term context.Context
}

func (t termInformers) Start(<-chan struct{}) { t.SharedInformerFactory.Start(t.term.Done()) }

// trimmed drops what no part looks at and what is a third of many objects.
func trimmed(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}
