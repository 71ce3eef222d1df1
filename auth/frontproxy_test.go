package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

func TestFrontProxy(t *testing.T) {
	ours, other := open(t, t.TempDir(), Names{}), open(t, t.TempDir(), Names{})
	cluster, proxies := ours.authorities[0], ours.authorities[1]
	header := http.Header{"X-Remote-User": {"zoe"}, "X-Remote-Uid": {"9"}, "X-Remote-Group": {"a", "", "b"}, "X-Remote-Extra-Acme.com%2fscope": {"x", "y"}}
	zoe := &registry.User{Name: "zoe", UID: "9", Groups: []string{"a", "b", authenticatedGroup}, Extra: map[string][]string{"acme.com/scope": {"x", "y"}}}
	anonymous := &registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}
	alice := &registry.User{Name: "alice", Groups: []string{"devs", authenticatedGroup}}
	for name, c := range map[string]struct {
		by    *authority
		name  string
		usage x509.ExtKeyUsage
		open  bool // every name is allowed
		head  http.Header
		want  *registry.User
		fails bool
	}{
		"the proxy is believed":                             {by: proxies, name: ProxyName, head: header, want: zoe},
		"a proxy without the name is not":                   {by: proxies, name: "other", head: header, fails: true},
		"unless every name is allowed":                      {by: proxies, name: "other", open: true, head: header, want: zoe},
		"nor is a client with the proxy's name":             {by: cluster, name: ProxyName, head: header, want: &registry.User{Name: ProxyName, Groups: []string{"devs", authenticatedGroup}}},
		"nor a proxy of another cluster":                    {by: other.authorities[1], name: ProxyName, head: header, fails: true},
		"nor a server's certificate":                        {by: proxies, name: ProxyName, usage: x509.ExtKeyUsageServerAuth, head: header, fails: true},
		"without a certificate headers are nothing":         {head: header, want: anonymous},
		"a client's own certificate counts, not the header": {by: cluster, name: "alice", head: header, want: alice},
		"the proxy itself is nobody":                        {by: proxies, name: ProxyName, fails: true},
		"an empty name is none":                             {by: proxies, name: ProxyName, head: http.Header{"X-Remote-User": {""}, "X-Remote-Group": {"system:masters"}}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if c.head != nil {
				r.Header = c.head.Clone()
			}
			r.Header.Set("Accept", "x")
			r.TLS = &tls.ConnectionState{}
			if c.by != nil {
				if c.usage == 0 {
					c.usage = x509.ExtKeyUsageClientAuth
				}
				r.TLS.PeerCertificates = []*x509.Certificate{clientWith(t, c.by, pkix.Name{CommonName: c.name, Organization: []string{"devs"}}, c.usage)}
			}
			proxy := StandardHeaders()
			proxy.Authorities = ours.ProxyAuthority
			if !c.open {
				proxy.AllowedNames = []string{ProxyName}
			}
			user, err := Authentication{Proxy: &proxy, ClientCAs: []*Bundle{ours.Authority}, Anonymous: Anonymous{Enabled: true}}.Authenticator().Authenticate(r)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if user != nil && user.Extra[credentialIDKey] != nil {
				user.Extra = nil
			}
			if d := cmp.Diff(c.want, user); d != "" {
				t.Error(d)
			}
			if user != nil && user.Name == "zoe" && len(r.Header) != 1 {
				t.Errorf("left in the request: %v", r.Header)
			}
		})
	}
}
