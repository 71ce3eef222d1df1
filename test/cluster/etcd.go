package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"os/exec"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// StartEtcd runs an etcd of its own, as an external cluster is, and returns its address and a client.
func StartEtcd(t testing.TB) (string, *clientv3.Client) {
	t.Helper()
	return startEtcd(t, "http", nil)
}

// StartEtcdTLS does the same with an etcd that shows and wants certificates.
func StartEtcdTLS(t testing.TB, caFile, certFile, keyFile string, client *tls.Config) (string, *clientv3.Client) {
	t.Helper()
	return startEtcd(t, "https", client, "--trusted-ca-file="+caFile, "--client-cert-auth", "--cert-file="+certFile, "--key-file="+keyFile)
}

func startEtcd(t testing.TB, scheme string, trust *tls.Config, flags ...string) (string, *clientv3.Client) {
	t.Helper()
	var out buffer
	url, peer := fmt.Sprintf("%s://127.0.0.1:%d", scheme, FreePort(t)), fmt.Sprintf("http://127.0.0.1:%d", FreePort(t))
	process := exec.Command(Binary(t, "etcd"), append(flags, "--data-dir="+t.TempDir(), "--listen-client-urls="+url, "--advertise-client-urls="+url,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--log-level=warn")...)
	process.Stdout, process.Stderr = &out, &out
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait() // killed: the error says so
	})
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: readyAfter, TLS: trust, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), readyAfter)
	defer cancel()
	for {
		ask, done := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(ask, "ready")
		done()
		if err == nil {
			return url, client
		}
		if ctx.Err() != nil {
			t.Fatalf("etcd is not ready: %v\n%s", err, out.String())
		}
	}
}
