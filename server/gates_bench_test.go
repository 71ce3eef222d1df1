package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/registry"
)

// everybody is who does not ask who somebody is.
type everybody struct{ user registry.User }

func (e everybody) Authenticate(*http.Request) (*registry.User, error) { return &e.user, nil }

// BenchmarkGates measures a GET through the whole pipeline, without a network: where nobody is asked who he is and what he
// may do, and by users with a token or a certificate who have one of 10,000 role bindings each. The two are measured in
// turn, in batches of a millisecond, and the median of the ratios is what the gates cost, however busy the machine is.
func BenchmarkGates(b *testing.B) {
	s := gatesServer(b)
	admin, err := s.security.pki.Admin.Get(nil)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(admin.Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	certificate := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	asks := func(change func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/shop/configmaps/read", nil)
		change(r)
		return r
	}
	type gates struct {
		auth.Authenticator
		registry.Authorizer
	}
	none := gates{everybody{registry.User{Name: "user-5000", Groups: []string{"system:authenticated"}}}, auth.AlwaysAllow{}}
	both := gates{s.authenticator, s.authorizer}
	w := &discarded{header: http.Header{}}
	const requests = 200
	batch := func(through gates, r *http.Request) time.Duration {
		s.authenticator, s.authorizer = through.Authenticator, through.Authorizer
		start := time.Now()
		for range requests {
			clear(w.header)
			if s.router.ServeHTTP(w, r.Clone(r.Context())); w.status != http.StatusOK {
				b.Fatal("status ", w.status)
			}
		}
		return time.Since(start) / requests
	}
	for _, c := range []struct {
		name    string
		request *http.Request
	}{
		{"token, RBAC", asks(func(r *http.Request) { r.Header.Set("Authorization", "Bearer user-token") })},
		{"certificate, system:masters", asks(func(r *http.Request) { r.TLS = certificate })},
	} {
		b.Run(c.name, func(b *testing.B) {
			var open, gated, cost []float64
			for i := 0; b.Loop(); i++ {
				var x, y time.Duration
				if i%2 == 0 {
					x, y = batch(none, c.request), batch(both, c.request)
				} else {
					y, x = batch(both, c.request), batch(none, c.request)
				}
				open, gated, cost = append(open, float64(x)), append(gated, float64(y)), append(cost, 100*(float64(y)/float64(x)-1))
			}
			b.ReportMetric(median(open), "ns/open-request")
			b.ReportMetric(median(gated), "ns/gated-request")
			b.ReportMetric(median(cost), "%/gates")
			b.ReportMetric(0, "ns/op") // of a pair of batches: says nothing
		})
	}
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// gatesServer has 10,000 role bindings and an object to read. It serves nothing but its router.
func gatesServer(b *testing.B) *Server {
	b.Helper()
	config := DefaultConfig()
	config.DataDir = b.TempDir()
	config.TokenAuthFile = filepath.Join(config.DataDir, "tokens.csv")
	if err := os.WriteFile(config.TokenAuthFile, []byte("other-token,other,1\nuser-token,user-5000,2\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	s, err := New(b.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.storage.close)
	read := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "read"}, Data: map[string]string{"k": "v"}}
	if _, err := s.registry.Create(b.Context(), s.registry.Resource("", "configmaps"), read); err != nil {
		b.Fatal(err)
	}
	s.security.policy.Change(nil, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}}})
	for i := range 10_000 {
		name := fmt.Sprintf("user-%d", i)
		s.security.policy.Change(nil, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: name}}})
	}
	return s
}

// discarded is an answer of which the status alone is kept.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
