package auth

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

// everything allows everything.
type everything struct{}

func (everything) Authorize(context.Context, *registry.Attributes) (registry.Decision, string, error) {
	return registry.Allow, "", nil
}

// FuzzHeadersOfUsers reads headers that name users: whatever they say, they are gone, and nobody gets in without a name.
func FuzzHeadersOfUsers(f *testing.F) {
	for _, seed := range [][2]string{{"Impersonate-User", "zed"}, {"Impersonate-Extra-%zz", "x"}, {"Impersonate-Extra-", ""}, {"X-Remote-Extra-A%2fb", "c"}, {"X-Remote-User", ""}, {"x", "\xff"}} {
		f.Add(seed[0], seed[1], "zed")
	}
	rules, proxy := NewImpersonation(everything{}), StandardHeaders()
	f.Fuzz(func(t *testing.T, name, value, user string) {
		header := http.Header{http.CanonicalHeaderKey(name): {value}, "Impersonate-User": {user}}
		as, err := rules.As(t.Context(), header, &registry.Attributes{User: registry.User{Name: "alice"}})
		if as != nil && (as.User.Name == "" || impersonates(header) && !strings.HasPrefix(http.CanonicalHeaderKey(name), "Impersonate-")) {
			t.Errorf("%+v, left %v", as, header)
		}
		if as == nil && err == nil && user != "" {
			t.Error("headers are overlooked")
		}
		proxy.extra(header)
		headersOf(proxy).strip(header)
		if extra := proxy.extra(header); extra != nil {
			t.Errorf("left: %v", extra)
		}
	})
}

// FuzzClientCertificate reads a user from whatever is a certificate.
func FuzzClientCertificate(f *testing.F) {
	pki, err := Open(f.TempDir(), Names{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range []*Certificate{pki.Admin, pki.Serving, pki.Proxy} {
		pair, err := c.Get(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(pair.Certificate[0], "1.3.6.1.4.1.57683.2")
	}
	f.Fuzz(func(t *testing.T, der []byte, uid string) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			c = &x509.Certificate{Subject: pkix.Name{CommonName: string(der), Names: []pkix.AttributeTypeAndValue{{Type: []int{1, 3, 6, 1, 4, 1, 57683, 2}, Value: uid}}}}
		}
		user, err := certificateUser(c)
		if user != nil && (user.Name == "" || err != nil) {
			t.Errorf("%+v, %v", user, err)
		}
	})
}
