package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/test/cluster"
)

// TestKillLosesNoAcknowledgedWrite kills the server in the middle of 16 writers.
func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["protobuf"])
	maps := client.CoreV1().ConfigMaps("default")
	var mu sync.Mutex
	acknowledged := map[string]string{} // name -> resourceVersion
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for i := 0; ; i++ {
				made, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w-%d-%d", w, i)}}, metav1.CreateOptions{})
				if err != nil {
					return // the server is gone
				}
				mu.Lock()
				acknowledged[made.Name] = made.ResourceVersion
				mu.Unlock()
			}
		})
	}
	eventually(t, "500 writes", func() bool { return count() > 500 })
	c.Kill()
	writers.Wait()
	c.Restart()
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i := range list.Items {
		found[list.Items[i].Name] = list.Items[i].ResourceVersion
	}
	for name, revision := range acknowledged {
		if found[name] != revision {
			t.Errorf("%s was written at revision %s, found at %q", name, revision, found[name])
		}
	}
}

// TestShutdownEndsWatchesCleanly stops the server while a watch is open: the stream ends as one that is complete, and
// the process soon after it.
func TestShutdownEndsWatchesCleanly(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := adminClient(t, c)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+"/api/v1/configmaps?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	start := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, answer.Body)
		ended <- err
	}()
	c.Stop()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if err := <-ended; err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the watch ended with %v", err)
	}
}

// TestResourcesInAClusterOfTheirOwn keeps Events in a second etcd, and everything else in the first, below a prefix.
func TestResourcesInAClusterOfTheirOwn(t *testing.T) {
	mainURL, mainEtcd := cluster.StartEtcd(t)
	eventsURL, eventsEtcd := cluster.StartEtcd(t)
	c := cluster.Start(t, "apiserver", "--etcd-servers="+mainURL, "--etcd-prefix=/elsewhere", "--etcd-servers-overrides=/events#"+eventsURL)
	client := clientset(t, c, formats()["json"])
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}
	if _, err := client.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		etcd   *clientv3.Client
		prefix string
		holds  bool
	}{
		"events are in their own cluster":      {eventsEtcd, "/elsewhere/events/default/e", true},
		"events are not in the main one":       {mainEtcd, "/elsewhere/events/", false},
		"namespaces are in the main cluster":   {mainEtcd, "/elsewhere/namespaces/default", true},
		"namespaces are not in that of events": {eventsEtcd, "/elsewhere/namespaces/", false},
	} {
		if holds := keysBelow(t, one.etcd, one.prefix) > 0; holds != one.holds {
			t.Errorf("%s: %v", name, holds)
		}
	}
	list, err := client.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || !strings.HasPrefix(list.Items[0].Name, "e") {
		t.Errorf("read through the other group: %v, %d events", err, len(list.Items))
	}
}

// TestEtcdOverTLS reaches an etcd that shows a certificate, and wants one.
func TestEtcdOverTLS(t *testing.T) {
	dir := t.TempDir()
	pki, err := auth.Open(dir, auth.Names{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key")
	url, etcd := cluster.StartEtcdTLS(t, ca, filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"),
		&tls.Config{RootCAs: pki.Authority.Pool(), GetClientCertificate: pki.Admin.GetForServer})
	c := cluster.Start(t, "apiserver", "--etcd-servers="+url, "--etcd-cafile="+ca, "--etcd-certfile="+cert, "--etcd-keyfile="+key)
	client := clientset(t, c, formats()["json"])
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if keysBelow(t, etcd, "/registry/namespaces/default") != 1 {
		t.Error("the default namespace is not in that etcd")
	}
}

func keysBelow(t *testing.T, etcd *clientv3.Client, prefix string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return answer.Count
}
