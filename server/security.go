package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/knarr-dev/knarr/auth"
	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
)

// security is how the server shows who it is, and knows who others are and what they may.
type security struct {
	pki           *auth.PKI
	serving       *auth.Certificate
	clientCAs     []*auth.Bundle
	proxy         *auth.FrontProxy
	authenticator auth.Authenticator
	issuers       *auth.File[*auth.OpenIDIssuers] // OpenID Connect's; nil if there are none
	tokens        auth.Tokens
	authorizer    registry.Authorizer
	policy        *rbac.Policy // the cluster's roles and bindings
	issuer        *auth.Issuer // of service account tokens
	accountKeys   auth.KeySource
	signer        *auth.ExternalSigner // of tokens; nil if a key of this process signs
	accounts      *auth.AccountTokens
	stop          []func() // ends what goes on in the background
}

// openSecurity makes or reads keys and certificates, and writes kubeconfigs.
func openSecurity(ctx context.Context, c *Config, network registry.Network, log *slog.Logger) (*security, error) {
	pki, err := auth.Open(filepath.Join(c.DataDir, "pki"), serverNames(c, network), log)
	if err != nil {
		return nil, err
	}
	s := &security{pki: pki, serving: pki.Serving, clientCAs: []*auth.Bundle{pki.Authority}}
	if err := s.openFiles(c); err != nil {
		return nil, err
	}
	if err := s.openIssuer(ctx, c, log); err != nil {
		return nil, err
	}
	write := func() error { return s.writeKubeconfigs(c) }
	pki.OnRenewal(write)
	return s, write()
}

// openFiles reads the certificates that are configured in place of the cluster's own.
func (s *security) openFiles(c *Config) (err error) {
	if c.TLSCertFile != "" {
		if s.serving, err = auth.OpenCertificate(c.TLSCertFile, c.TLSPrivateKeyFile); err != nil {
			return fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
		}
		s.pki.Watch(s.serving)
	}
	if c.ClientCAFile != "" {
		foreign, err := auth.OpenBundle(c.ClientCAFile)
		if err != nil {
			return fmt.Errorf("--client-ca-file: %w", err)
		}
		s.clientCAs = append(s.clientCAs, foreign)
		s.pki.Watch(foreign)
	}
	return nil
}

// serverNames are those under which clients may call this server.
func serverNames(c *Config, network registry.Network) auth.Names {
	host, _ := os.Hostname() // a machine without a name is called by its addresses
	names := auth.Names{Hosts: []string{host, c.ExternalHostname}, IPs: []net.IP{network.AdvertiseAddress, c.BindAddress}}
	for _, r := range network.ServiceRanges {
		names.IPs = append(names.IPs, net.IP(r.Addr().Next().AsSlice())) // the `kubernetes` Service has the first
	}
	return names
}

// LocalURL is the server's address for clients on this machine.
func (c *Config) LocalURL() string {
	host := c.BindAddress
	switch {
	case host == nil || host.Equal(net.IPv4zero):
		host = net.IPv4(127, 0, 0, 1)
	case host.IsUnspecified():
		host = net.IPv6loopback
	}
	return "https://" + net.JoinHostPort(host.String(), strconv.Itoa(c.SecurePort))
}

// KubeconfigPath is where the admin's kubeconfig is kept.
func (c *Config) KubeconfigPath() string { return filepath.Join(c.DataDir, "admin.kubeconfig") }

// writeKubeconfigs writes the admin's, which may be taken elsewhere, and those of the other parts.
func (s *security) writeKubeconfigs(c *Config) error {
	err := auth.WriteKubeconfig(c.KubeconfigPath(), auth.Kubeconfig(c.LocalURL(), s.trusted(), s.pki.Admin))
	for _, part := range []string{"controllers", "scheduler"} {
		file := filepath.Join("pki", part)
		own := auth.KubeconfigByFiles(c.LocalURL(), s.trusted(), file+".crt", file+".key")
		err = errors.Join(err, auth.WriteKubeconfig(filepath.Join(c.DataDir, part+".kubeconfig"), own))
	}
	return err
}

// trusted is what vouches for the server to its clients.
func (s *security) trusted() []byte {
	if s.serving == s.pki.Serving {
		return s.pki.Authority.PEM()
	}
	foreign, _ := s.serving.PEM()
	return slices.Concat(s.pki.Authority.PEM(), foreign)
}

// RootCA is what clients verify the server with, in PEM.
func (s *Server) RootCA() []byte { return s.security.trusted() }

// Parts is what the other parts of this process show to those who ask them something, and whom they believe.
func (s *Server) Parts() (shown *auth.Certificate, authorities *auth.Bundle) {
	return s.security.pki.Parts, s.security.pki.Authority
}

// Authority is where the certificate and the key of the cluster's own authority are.
func (s *Server) Authority() (certificate, key string) {
	dir := filepath.Join(s.config.DataDir, "pki")
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
}

// tls asks clients for a certificate and leaves its judgement to authentication.
func (s *security) tls(c *Config) *tls.Config {
	lowest := uint16(tls.VersionTLS12)
	if c.TLSMinVersion == "VersionTLS13" {
		lowest = tls.VersionTLS13
	}
	return &tls.Config{MinVersion: lowest, GetCertificate: s.serving.Get, ClientAuth: tls.RequestClientCert, DynamicRecordSizingDisabled: true,
		NextProtos: []string{"h2", "http/1.1"}}
}

// kubelet is how nodes, and pods and services behind them, are reached.
func (s *security) kubelet(c *Config) (registry.Kubelet, error) {
	client := s.pki.Kubelet
	if c.KubeletCertFile != "" {
		own, err := auth.OpenCertificate(c.KubeletCertFile, c.KubeletKeyFile)
		if err != nil {
			return registry.Kubelet{}, fmt.Errorf("--kubelet-client-certificate, --kubelet-client-key: %w", err)
		}
		s.pki.Watch(own)
		client = own
	}
	strict := &tls.Config{GetClientCertificate: client.GetForServer, InsecureSkipVerify: c.KubeletCAFile == ""}
	if c.KubeletCAFile != "" {
		authorities, err := auth.OpenBundle(c.KubeletCAFile)
		if err != nil {
			return registry.Kubelet{}, fmt.Errorf("--kubelet-certificate-authority: %w", err)
		}
		strict.RootCAs = authorities.Pool()
	}
	return registry.Kubelet{
		Transport:    nodeTransport(strict),
		Insecure:     nodeTransport(&tls.Config{GetClientCertificate: client.GetForServer, InsecureSkipVerify: true}),
		Proxy:        nodeTransport(&tls.Config{InsecureSkipVerify: true}),
		AddressTypes: c.kubeletAddressTypes(),
	}, nil
}

// nodeTransport speaks HTTP/1.1, in which streams can be upgraded.
func nodeTransport(t *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{TLSClientConfig: t, DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 25, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
}

// trust is what servers behind this one have to believe: its own proxy's word, and that of the one in front of it.
func (s *security) trust() registry.Trust {
	t := registry.Trust{ProxyCA: s.pki.ProxyAuthority.PEM(), ProxyNames: []string{auth.ProxyName},
		UserHeaders: s.proxy.UserHeaders, UIDHeaders: s.proxy.UIDHeaders, GroupHeaders: s.proxy.GroupHeaders, ExtraPrefixes: s.proxy.ExtraPrefixes}
	if s.proxy.Authorities != s.pki.ProxyAuthority {
		t.ProxyCA = slices.Concat(t.ProxyCA, s.proxy.Authorities.PEM())
		t.ProxyNames = append(t.ProxyNames, s.proxy.AllowedNames...)
	}
	for _, b := range s.clientCAs {
		t.ClientCA = append(t.ClientCA, b.PEM()...)
	}
	return t
}
