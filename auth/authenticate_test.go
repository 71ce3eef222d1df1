package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

func tokenFile(t *testing.T, content string) *TokenFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := ReadTokenFile(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestBearerTokens(t *testing.T) {
	tokens := tokenFile(t, "good,alice,uid-1,\"devs,readers\"\nplain,bob,uid-2\n,ghost,uid-3\n")
	alice := &registry.User{Name: "alice", UID: "uid-1", Groups: []string{"devs", "readers", authenticatedGroup}}
	anonymous := &registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}
	socket := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	protocol := bearerProtocol + base64.RawURLEncoding.EncodeToString([]byte("good"))
	for name, c := range map[string]struct {
		header http.Header
		want   *registry.User
		fails  bool
		left   string // of the header that held the token
	}{
		"a known token is its user, and is removed":    {header: http.Header{"Authorization": {"Bearer good"}}, want: alice},
		"the scheme is matched without case":           {header: http.Header{"Authorization": {"bEARER good"}}, want: alice},
		"groups are optional":                          {header: http.Header{"Authorization": {"Bearer plain"}}, want: &registry.User{Name: "bob", UID: "uid-2", Groups: []string{authenticatedGroup}}},
		"an unknown token is not anonymous":            {header: http.Header{"Authorization": {"Bearer bad"}}, fails: true, left: "Bearer bad"},
		"an empty token is none":                       {header: http.Header{"Authorization": {"Bearer "}}, want: anonymous, left: "Bearer "},
		"another scheme is none":                       {header: http.Header{"Authorization": {"Basic good"}}, want: anonymous, left: "Basic good"},
		"no credential is anonymous":                   {want: anonymous},
		"a web socket's protocol is removed":           {header: merge(socket, protocolHeader, protocol+", v5.channel.k8s.io"), want: alice, left: "v5.channel.k8s.io"},
		"a web socket's protocol may not stand alone":  {header: merge(socket, protocolHeader, protocol), fails: true, left: protocol},
		"two tokens are refused":                       {header: merge(socket, protocolHeader, protocol+","+protocol+",x"), fails: true, left: protocol + "," + protocol + ",x"},
		"without a web socket the protocol is nothing": {header: http.Header{protocolHeader: {protocol}}, want: anonymous, left: protocol},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if c.header != nil {
				r.Header = c.header
			}
			got, err := Authentication{Tokens: []registry.TokenAuthenticator{tokens}, Anonymous: Anonymous{Enabled: true}}.Authenticator().Authenticate(r)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if left := r.Header.Get("Authorization") + r.Header.Get(protocolHeader); left != c.left {
				t.Errorf("left in the request: %q", left)
			}
		})
	}
}

func merge(h http.Header, key, value string) http.Header {
	h = h.Clone()
	h.Set(key, value)
	return h
}

// clientWith issues a certificate with the given subject.
func clientWith(t *testing.T, by *authority, subject pkix.Name, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := sign(template, by.certificate, &key.PublicKey, by.key, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientCertificates(t *testing.T) {
	ours, other := open(t, t.TempDir(), Names{}), open(t, t.TempDir(), Names{})
	uid := func(value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: value}
	}
	for name, c := range map[string]struct {
		by      *PKI
		subject pkix.Name
		usage   x509.ExtKeyUsage
		want    *registry.User
		fails   bool
	}{
		"common name, organizations and UID are the user": {
			by: ours, usage: x509.ExtKeyUsageClientAuth,
			subject: pkix.Name{CommonName: "alice", Organization: []string{"devs"}, ExtraNames: []pkix.AttributeTypeAndValue{uid("7")}},
			want:    &registry.User{Name: "alice", UID: "7", Groups: []string{"devs", authenticatedGroup}}},
		"a second UID is refused":            {by: ours, usage: x509.ExtKeyUsageClientAuth, subject: pkix.Name{CommonName: "alice", ExtraNames: []pkix.AttributeTypeAndValue{uid("7"), uid("8")}}, fails: true},
		"without a common name it is nobody": {by: ours, usage: x509.ExtKeyUsageClientAuth, subject: pkix.Name{Organization: []string{"devs"}}},
		"a server's certificate is refused":  {by: ours, usage: x509.ExtKeyUsageServerAuth, subject: pkix.Name{CommonName: "alice"}, fails: true},
		"a foreign authority is refused":     {by: other, usage: x509.ExtKeyUsageClientAuth, subject: pkix.Name{CommonName: "alice"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{clientWith(t, c.by.authorities[0], c.subject, c.usage)}}
			got, err := Authentication{ClientCAs: []*Bundle{ours.Authority}}.Authenticator().Authenticate(r)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if got != nil {
				if ids := got.Extra[credentialIDKey]; len(ids) != 1 || len(ids[0]) != len("X509SHA256=")+64 {
					t.Errorf("credential id %q", ids)
				}
				got.Extra = nil
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
