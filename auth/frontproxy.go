package auth

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/knarr-dev/knarr/registry"
)

// FrontProxy believes what a proxy in front of the server says of a user in headers, if the proxy shows a certificate of
// an authority of its own. The headers of others count nothing.
type FrontProxy struct {
	Authorities   *Bundle
	AllowedNames  []string // common names of the certificate; none means all
	UserHeaders   []string // the first that has a value counts
	UIDHeaders    []string // the first that has a value counts
	GroupHeaders  []string // all values count
	ExtraPrefixes []string // of headers whose names end in a key of the user's extra
}

// StandardHeaders are the headers that aggregated API servers and most proxies use.
func StandardHeaders() FrontProxy {
	return FrontProxy{UserHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"},
		GroupHeaders: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"}}
}

// frontProxy reads the headers of a proxy that has shown its certificate.
type frontProxy struct {
	FrontProxy // with canonical names: every request is looked at
	sender     *clientCertificate
}

func newFrontProxy(p FrontProxy) *frontProxy {
	for _, names := range []*[]string{&p.UserHeaders, &p.UIDHeaders, &p.GroupHeaders} {
		*names = slices.Clone(*names)
		for i, name := range *names {
			(*names)[i] = http.CanonicalHeaderKey(name)
		}
	}
	return &frontProxy{p, &clientCertificate{authorities: p.Authorities, read: proxyUser}}
}

// proxyUser is the proxy itself. It may have no name, where all are allowed.
func proxyUser(leaf *x509.Certificate) (*registry.User, error) {
	return &registry.User{Name: leaf.Subject.CommonName}, nil
}

// Authenticate looks at the certificate of whoever sends one, and a user's name in a header.
func (p *frontProxy) Authenticate(r *http.Request) (*registry.User, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	name := firstHeader(r.Header, p.UserHeaders)
	if name == "" {
		return nil, nil
	}
	sender, err := p.sender.Authenticate(r)
	if sender == nil || err != nil {
		return nil, err
	}
	if len(p.AllowedNames) > 0 && !slices.Contains(p.AllowedNames, sender.Name) {
		return nil, fmt.Errorf("x509: subject with cn=%s is not in the allowed list", sender.Name)
	}
	return &registry.User{Name: name, UID: firstHeader(r.Header, p.UIDHeaders), Groups: allHeaders(r.Header, p.GroupHeaders),
		Extra: p.extra(r.Header)}, nil
}

// proxyHeaders are those in which a proxy tells of users, by their canonical names and by how their names begin.
type proxyHeaders struct {
	names    map[string]struct{}
	prefixes []string
}

// headersOf are the headers of several proxies.
func headersOf(proxies ...FrontProxy) proxyHeaders {
	h := proxyHeaders{names: map[string]struct{}{}}
	for _, p := range proxies {
		for _, name := range slices.Concat(p.UserHeaders, p.UIDHeaders, p.GroupHeaders) {
			h.names[http.CanonicalHeaderKey(name)] = struct{}{}
		}
		for _, prefix := range p.ExtraPrefixes {
			if !slices.ContainsFunc(h.prefixes, func(p string) bool { return strings.EqualFold(p, prefix) }) {
				h.prefixes = append(h.prefixes, prefix)
			}
		}
	}
	return h
}

// strip removes the headers from a request, so that nothing behind believes them or passes them on.
func (h proxyHeaders) strip(header http.Header) {
	if len(header) == 0 {
		return
	}
	for name := range header {
		_, ours := h.names[name]
		for _, prefix := range h.prefixes {
			ours = ours || hasPrefixFold(name, prefix)
		}
		if ours {
			delete(header, name)
		}
	}
}

// extra reads the headers prefix by prefix, so that values under one key have an order.
func (p *FrontProxy) extra(header http.Header) map[string][]string {
	var extra map[string][]string
	for _, prefix := range p.ExtraPrefixes {
		for name, values := range header {
			if !hasPrefixFold(name, prefix) {
				continue
			}
			if extra == nil {
				extra = map[string][]string{}
			}
			key := extraKey(name[len(prefix):])
			extra[key] = append(extra[key], values...)
		}
	}
	return extra
}

// extraKey is a key of a user's extra as header names carry it: without case, percent-encoded where need be.
func extraKey(encoded string) string {
	encoded = strings.ToLower(encoded)
	key, err := url.PathUnescape(encoded)
	if err != nil {
		return encoded
	}
	return key
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// firstHeader is the first value of the first header that has one; names are canonical.
func firstHeader(header http.Header, names []string) string {
	for _, name := range names {
		if values := header[name]; len(values) > 0 && values[0] != "" {
			return values[0]
		}
	}
	return ""
}

func allHeaders(header http.Header, names []string) (all []string) {
	for _, name := range names {
		for _, value := range header[name] {
			if value != "" {
				all = append(all, value)
			}
		}
	}
	return all
}
