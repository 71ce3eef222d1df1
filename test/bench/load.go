package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// load is a series of phases against one server. All go to the pods of one namespace.
type load struct {
	sizes
	server *server
	config *rest.Config
	pods   typedPods
	got    results
	peak   float64 // of memory, over phases that reset it
	failed atomic.Int64
}

const namespace = "bench"

func newLoad(ctx context.Context, on *server, s sizes, got results) (*load, error) {
	config := on.client()
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(protobuf)
	if err != nil {
		return nil, err
	}
	core := client.CoreV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	// No controller runs that would make it.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := core.ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return &load{sizes: s, server: on, config: config, pods: typedPods{core.Pods(namespace)}, got: got}, nil
}

// failures is an error if requests have failed.
func (l *load) failures() error {
	if n := l.failed.Load(); n > 0 {
		return fmt.Errorf("%d requests failed", n)
	}
	return nil
}

// fail counts and shows a failure.
func (l *load) fail(err error) {
	if err != nil && l.failed.Add(1) <= 3 {
		slog.Error("a request of the load", "err", err)
	}
}

// each calls do for 0 to n-1 from several workers, and returns how many were done a second.
func each(ctx context.Context, n, workers int, do func(worker, i int)) float64 {
	var next atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for w := range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				do(w, i)
			}
		})
	}
	all.Wait()
	return float64(n) / time.Since(start).Seconds()
}

func (l *load) create(ctx context.Context) error {
	return l.write(ctx, "create, 32 clients", l.sizes.pods, func(i int) request {
		return request{method: "POST", path: podsPath, contentType: mediaProtobuf, body: encodedPod(i)}
	})
}

// write measures n requests of the writers, which have a connection each. The requests are made beforehand.
func (l *load) write(ctx context.Context, figure string, n int, make func(i int) request) error {
	clients, err := l.server.dialMany(ctx, l.writers)
	if err != nil {
		return err
	}
	defer clients.close()
	var requests []request
	for i := range n {
		requests = append(requests, make(i))
	}
	l.got.set(figure, each(ctx, n, l.writers, func(worker, i int) { l.fail(clients[worker].ask(requests[i])) }))
	return nil
}

// fill adds pods until there are n, beside those of the phases, which are deleted by then.
func (l *load) fill(ctx context.Context, n int) error {
	each(ctx, n, l.writers, func(_, i int) { l.fail(l.pods.create(ctx, i)) })
	return errors.Join(ctx.Err(), l.failures())
}

func (l *load) get(ctx context.Context) error {
	return l.write(ctx, "get, 32 clients", l.reads*l.sizes.pods, func(i int) request {
		return request{method: "GET", path: podsPath + "/" + podName(i%l.sizes.pods)}
	})
}

func (l *load) patch(ctx context.Context) error {
	body := []byte(`{"metadata":{"labels":{"patched":"yes"}}}`)
	return l.write(ctx, "patch, 32 clients", l.sizes.pods, func(i int) request {
		return request{method: "PATCH", path: podsPath + "/" + podName(i), contentType: "application/strategic-merge-patch+json", body: body}
	})
}

func (l *load) delete(ctx context.Context) error {
	return l.write(ctx, "delete, 32 clients", l.sizes.pods, func(i int) request {
		return request{method: "DELETE", path: podsPath + "/" + podName(i) + "?gracePeriodSeconds=0"}
	})
}
