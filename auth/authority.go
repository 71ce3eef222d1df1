package auth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// Lifetimes are kubeadm's. A certificate is renewed when a third of its life is left.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour
	// clockSkew lets hosts whose clocks lag accept a certificate at once.
	clockSkew = 5 * time.Minute
)

// authority issues certificates. Its own certificate is renewed under the same key and name, so that what it issued
// before stays valid, for those who trust the old one as for those who trust the new one.
type authority struct {
	path        string // of its certificate and key, without suffix
	name        string
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func openAuthority(path, name string) (*authority, error) {
	key, err := openKey(path + ".key")
	if err != nil {
		return nil, err
	}
	a := &authority{path: path, name: name, key: key}
	return a, a.renew(time.Now())
}

// renew issues the authority's own certificate, if the present one is missing, of another key or of age.
func (a *authority) renew(now time.Time) error {
	if a.certificate == nil {
		a.certificate = readCertificate(a.path + ".crt")
	}
	if c := a.certificate; c != nil && a.key.PublicKey.Equal(c.PublicKey) && now.Before(renewalOf(c)) {
		return nil
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: a.name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		DNSNames: []string{a.name},
	}
	der, err := sign(template, template, &a.key.PublicKey, a.key, now, authorityLifetime)
	if err != nil {
		return fmt.Errorf("authority %s: %w", a.name, err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return writeFile(a.path+".crt", encodeCertificate(der), 0o644)
}

// leaf is a certificate that an authority issues: to whom and for what.
type leaf struct {
	file   string // below the PKI's directory, without suffix
	issuer *authority
	name   string
	groups []string
	usage  x509.ExtKeyUsage
	dns    []string
	ips    []net.IP
}

// renew issues the certificate if the present one is missing, of age, or says something else than is wanted.
// It reports the time at which it wants to be called again.
func (l leaf) renew(dir string, now time.Time) (next time.Time, err error) {
	key, err := openKey(dir + l.file + ".key")
	if err != nil {
		return time.Time{}, err
	}
	present := readCertificate(dir + l.file + ".crt")
	if present != nil && key.PublicKey.Equal(present.PublicKey) && l.says(present) && now.Before(renewalOf(present)) {
		return renewalOf(present), nil
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: l.name, Organization: l.groups},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{l.usage},
		BasicConstraintsValid: true, DNSNames: l.dns, IPAddresses: l.ips,
	}
	der, err := sign(template, l.issuer.certificate, &key.PublicKey, l.issuer.key, now, leafLifetime)
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate %s: %w", l.file, err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return time.Time{}, err
	}
	return renewalOf(made), writeFile(dir+l.file+".crt", encodeCertificate(der), 0o644)
}

// says reports whether the certificate is what would be issued now, but for its dates.
func (l leaf) says(c *x509.Certificate) bool {
	return c.CheckSignatureFrom(l.issuer.certificate) == nil &&
		c.Subject.CommonName == l.name && slices.Equal(c.Subject.Organization, l.groups) &&
		slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{l.usage}) && slices.Equal(c.DNSNames, l.dns) &&
		slices.EqualFunc(c.IPAddresses, l.ips, net.IP.Equal)
}

// sign completes the template with serial number and dates, and signs it. Nothing outlives its issuer.
func sign(template, issuer *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey, now time.Time, life time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-clockSkew).UTC()
	template.NotAfter = now.Add(life).UTC()
	if !issuer.NotAfter.IsZero() && issuer.NotAfter.Before(template.NotAfter) {
		template.NotAfter = issuer.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, issuer, public, key)
}

// renewalOf is when a certificate is to be renewed: when a third of its life is left.
func renewalOf(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}
