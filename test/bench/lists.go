package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

const podsPath = "/api/v1/namespaces/" + namespace + "/pods"

const (
	mediaJSON     = "application/json"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
	mediaTable    = "application/json;as=Table;v=v1;g=meta.k8s.io"
)

// list asks for lists in several forms, while a light writer changes pods.
func (l *load) list(ctx context.Context) error {
	clients, err := l.server.dialMany(ctx, l.listers)
	if err != nil {
		return err
	}
	defer clients.close()
	writer, err := l.server.dial(ctx)
	if err != nil {
		return err
	}
	defer writer.conn.Close()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go l.keepChanging(ctx, writer, ended)
	defer func() { stop(); <-ended }()
	for _, form := range []struct {
		figure, accept, encoding, query string
		times                           int // the smaller the answers, the more of them it takes to measure for a while
	}{
		{"list JSON", mediaJSON, "identity", "", 1},
		{"list JSON gzip", mediaJSON, "gzip", "", 1},
		{"list protobuf", mediaProtobuf, "identity", "", 1},
		{"list protobuf gzip", mediaProtobuf, "gzip", "", 1},
		{"list Table", mediaTable, "identity", "", 1},
		{"list by label, 1 %", mediaJSON, "identity", "?labelSelector=app%3Dapp-7", 60},
		{"list by field, 1 %", mediaJSON, "identity", "?fieldSelector=spec.nodeName%3Dnode-7", 60},
		{"list page of 500", mediaJSON, "identity", "?limit=500", 10},
	} {
		n := l.lists * form.times
		l.got.set(form.figure, each(ctx, n, l.listers, func(worker, _ int) {
			l.fail(clients[worker].ask(request{method: "GET", path: podsPath + form.query, accept: form.accept, encoding: form.encoding}))
		}))
	}
	return nil
}

// keepChanging patches pods until ctx ends.
func (l *load) keepChanging(ctx context.Context, writer *wire, ended chan<- struct{}) {
	defer close(ended)
	tick := time.NewTicker(time.Second / time.Duration(l.churn))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.fail(writer.ask(annotate(i*37%l.sizes.pods, "churn", fmt.Sprint(i))))
		}
	}
}

// open sends a GET and returns the answer if it is 200.
func (l *load) open(ctx context.Context, client http.RoundTripper, path, accept, encoding string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.url+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Encoding", encoding)
	answer, err := client.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	return answer, nil
}

// connections are clients with an HTTP/2 connection each, as separate processes have.
func (l *load) connections(n int) ([]http.RoundTripper, error) {
	clients := make([]http.RoundTripper, n)
	for i := range clients {
		trust, err := rest.TLSConfigFor(l.config)
		if err != nil {
			return nil, err
		}
		own := &http.Transport{TLSClientConfig: trust, DisableCompression: true, ForceAttemptHTTP2: true}
		if clients[i], err = rest.HTTPWrappersForConfig(l.config, own); err != nil {
			return nil, err
		}
	}
	return clients, nil
}
