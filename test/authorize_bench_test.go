package test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/server"
	"github.com/knarr-dev/knarr/test/cluster"
)

// BenchmarkGet measures a GET through the whole pipeline, without a network: of nobody where everything is allowed, and of a
// user who has one of 10,000 role bindings. The difference is what authentication and authorization cost.
func BenchmarkGet(b *testing.B) {
	for _, c := range []struct {
		name, mode, token string
	}{
		{"anonymous, AlwaysAllow", "AlwaysAllow", ""},
		{"token, RBAC with 10,000 role bindings", "RBAC", "user-token"},
	} {
		b.Run(c.name, func(b *testing.B) {
			handler := benchmarked(b, c.mode)
			w := &discarding{header: http.Header{}}
			request := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/default/configmaps/read", nil)
			b.ReportAllocs()
			for b.Loop() {
				r := request.Clone(request.Context())
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				clear(w.header)
				if handler.ServeHTTP(w, r); w.status != http.StatusOK {
					b.Fatal("status ", w.status)
				}
			}
		})
	}
}

// benchmarked is a server's handler over an embedded etcd with 10,000 role bindings.
func benchmarked(b *testing.B, mode string) http.Handler {
	b.Helper()
	config := server.DefaultConfig()
	config.DataDir, config.SecurePort, config.AuthorizationMode = b.TempDir(), cluster.FreePort(b), []string{mode}
	config.TokenAuthFile = filepath.Join(config.DataDir, "tokens.csv")
	if err := os.WriteFile(config.TokenAuthFile, []byte("admin-token,admin,1,system:masters\nuser-token,user-5000,2\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	s, err := server.New(b.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(b.Context(), func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		b.Fatal(err)
	}
	b.Cleanup(func() { <-ended })
	fillBenchmarked(b, s)
	return s.Handler()
}

// fillBenchmarked stores the object that is read, and the bindings.
func fillBenchmarked(b *testing.B, s *server.Server) {
	b.Helper()
	admin := registry.User{Name: "admin", Groups: []string{"system:masters"}}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://within", Transport: s.Transport(admin), QPS: -1})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	read := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Data: map[string]string{"k": "v"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, read, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	many(b, 10_000, func(i int) error {
		name := fmt.Sprintf("user-%d", i)
		_, err := client.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: name}}}, metav1.CreateOptions{})
		return err
	})
}

// discarding takes an answer and keeps its status.
type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) WriteHeader(status int)      { d.status = status }
func (d *discarding) Write(p []byte) (int, error) { return len(p), nil }
