package auth

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Certificate is a pair of files, certificate and key, that may change while it is in use.
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[pair]
}

// pair is what the files held when they were read.
type pair struct {
	cert, key []byte
	parsed    *tls.Certificate
}

// OpenCertificate reads a certificate and its key, in PEM.
func OpenCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	_, err := c.reload()
	return c, err
}

// SelfSigned is a certificate of a server that nobody vouches for, and that is kept nowhere.
func SelfSigned(name string, ips ...net.IP) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: ips,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	der, err := sign(template, template, &key.PublicKey, key, time.Now(), leafLifetime)
	if err != nil {
		return nil, err
	}
	c := &Certificate{}
	return c, c.take(encodeCertificate(der), encodeKey(key))
}

func (c *Certificate) name() string { return c.certFile }

// Get is today's certificate, in the form of tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load().parsed, nil
}

// GetForServer is today's certificate, in the form of tls.Config.GetClientCertificate.
func (c *Certificate) GetForServer(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.current.Load().parsed, nil
}

// PEM returns what the two files hold.
func (c *Certificate) PEM() (cert, key []byte) {
	p := c.current.Load()
	return p.cert, p.key
}

// reload takes changed files into use. Files that do not fit together, as between two writes, leave the old pair.
func (c *Certificate) reload() (changed bool, err error) {
	if c.certFile == "" {
		return false, nil
	}
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, err
	}
	if old := c.current.Load(); old != nil && bytes.Equal(old.cert, cert) && bytes.Equal(old.key, key) {
		return false, nil
	}
	if err := c.take(cert, key); err != nil {
		return false, fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	return true, nil
}

func (c *Certificate) take(cert, key []byte) error {
	parsed, err := tls.X509KeyPair(cert, key)
	if err == nil {
		c.current.Store(&pair{cert: cert, key: key, parsed: &parsed})
	}
	return err
}

// Bundle is a file of authorities that may change while it is in use.
type Bundle struct {
	path    string
	current atomic.Pointer[authorities]
}

type authorities struct {
	pem  []byte
	pool *x509.CertPool
}

// OpenBundle reads authorities' certificates, in PEM.
func OpenBundle(path string) (*Bundle, error) {
	b := &Bundle{path: path}
	_, err := b.reload()
	return b, err
}

// NewBundle is of authorities, in PEM, that stay as they are. Where there are none, they vouch for nobody.
func NewBundle(pem []byte) (*Bundle, error) {
	b := &Bundle{}
	if len(pem) == 0 {
		b.current.Store(&authorities{pool: x509.NewCertPool()})
		return b, nil
	}
	_, err := b.take(pem)
	return b, err
}

func (b *Bundle) name() string { return b.path }

// Pool are today's authorities. Callers do not change it.
func (b *Bundle) Pool() *x509.CertPool { return b.current.Load().pool }

// PEM is what the file holds.
func (b *Bundle) PEM() []byte { return b.current.Load().pem }

func (b *Bundle) reload() (changed bool, err error) {
	if b.path == "" {
		return false, nil
	}
	data, err := os.ReadFile(b.path)
	if err != nil {
		return false, err
	}
	return b.take(data)
}

func (b *Bundle) take(data []byte) (changed bool, err error) {
	if old := b.current.Load(); old != nil && bytes.Equal(old.pem, data) {
		return false, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return false, fmt.Errorf("no certificates in %s", cmp.Or(b.path, "what names authorities"))
	}
	b.current.Store(&authorities{pem: data, pool: pool})
	return true, nil
}
