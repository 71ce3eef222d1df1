package controllers

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// csrSigning promises that approved requests to the signers that Kubernetes names get a certificate of the cluster's
// authority, for as long as was asked for and at most a year, if they ask for what their signer gives; if not, they fail.
//
// The subtle case is a request of an unknown signer: it is somebody else's.
type csrSigning struct {
	requests *Source
	// authority is where certificate and key of the cluster's authority are: they are read for each request, and so may
	// be renewed meanwhile.
	certificate, key string
	longest          time.Duration // that a certificate lives
}

func csrSigningLoop(c *Config) Loop {
	x := &csrSigning{c.Source(&certificatesv1.CertificateSigningRequest{}), c.SigningCertFile, c.SigningKeyFile, cmp.Or(c.CertificateLife, certificateLife)}
	return Loop{Watches: []Watch{{x.requests, itself}}, Reconcile: x.reconcile}
}

const legacyUnknownSigner = "kubernetes.io/legacy-unknown"

// csrSigners say what is wrong with a request, by signer.
func csrSigners() map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error {
	return map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
		certificatesv1.KubeAPIServerClientSignerName:        checkClient,
		certificatesv1.KubeAPIServerClientKubeletSignerName: checkKubeletClient,
		certificatesv1.KubeletServingSignerName:             checkKubeletServing,
		legacyUnknownSigner:                                 func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
	}
}

func (x *csrSigning) reconcile(ctx context.Context, t *Turn) error {
	csr, _ := x.requests.cached(t.Key).(*certificatesv1.CertificateSigningRequest)
	if csr == nil || x.certificate == "" || len(csr.Status.Certificate) > 0 || !csrIs(csr, certificatesv1.CertificateApproved) ||
		csrIs(csr, certificatesv1.CertificateDenied) || csrIs(csr, certificatesv1.CertificateFailed) {
		return nil
	}
	check, known := csrSigners()[csr.Spec.SignerName]
	if !known {
		return nil
	}
	asked, err := parseCSR(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr %q: %w", csr.Name, err)
	}
	changed := csr.DeepCopy()
	if wrong := check(asked, csr.Spec.Usages); wrong != nil {
		changed.Status.Conditions = append(changed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed,
			Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: wrong.Error(), LastUpdateTime: metav1.NewTime(t.Now)})
	} else if changed.Status.Certificate, err = x.sign(asked, csr, t.Now); err != nil {
		return fmt.Errorf("error auto signing csr: %w", err)
	}
	_, err = UpdateStatus(ctx, t, t.Client.CertificatesV1().CertificateSigningRequests(), changed)
	return goneAlready(err)
}

const (
	certificateLife = 365 * 24 * time.Hour
	shortestLife    = 10 * time.Minute
	// backdated lets hosts whose clocks lag accept a certificate at once; a short one does not lose that time at its end.
	backdated = 5 * time.Minute
	shortLife = 8 * time.Hour
)

// certificateSpan is for which time a certificate is issued, that may live for so long at most.
func certificateSpan(seconds *int32, longest time.Duration, now, authorityEnd time.Time) (from, to time.Time) {
	life := longest
	if seconds != nil {
		life = min(max(time.Duration(*seconds)*time.Second, shortestLife), longest)
	}
	from, to = now.Add(-backdated), now.Add(life)
	if life >= shortLife {
		to = to.Add(-backdated)
	}
	if !to.Before(authorityEnd) {
		to = authorityEnd
	}
	return from, to
}

func (x *csrSigning) sign(asked *x509.CertificateRequest, csr *certificatesv1.CertificateSigningRequest, now time.Time) ([]byte, error) {
	if err := asked.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(x.certificate, x.key)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	usage, extended, err := keyUsages(csr.Spec.Usages)
	if err != nil {
		return nil, err
	}
	from, to := certificateSpan(csr.Spec.ExpirationSeconds, x.longest, now, pair.Leaf.NotAfter)
	if !from.Before(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("refusing to sign a certificate that expired in the past: the authority's ran out at %v", pair.Leaf.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: asked.Subject, DNSNames: asked.DNSNames,
		IPAddresses: asked.IPAddresses, EmailAddresses: asked.EmailAddresses, URIs: asked.URIs, NotBefore: from, NotAfter: to,
		KeyUsage: usage, ExtKeyUsage: extended, BasicConstraintsValid: true}, pair.Leaf, asked.PublicKey, pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// keyUsages are a request's usages as a certificate has them.
func keyUsages(of []certificatesv1.KeyUsage) (usage x509.KeyUsage, extended []x509.ExtKeyUsage, err error) {
	plain := map[certificatesv1.KeyUsage]x509.KeyUsage{
		certificatesv1.UsageSigning: x509.KeyUsageDigitalSignature, certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
		certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment, certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement: x509.KeyUsageKeyAgreement, certificatesv1.UsageDataEncipherment: x509.KeyUsageDataEncipherment,
		certificatesv1.UsageCertSign: x509.KeyUsageCertSign, certificatesv1.UsageCRLSign: x509.KeyUsageCRLSign,
		certificatesv1.UsageEncipherOnly: x509.KeyUsageEncipherOnly, certificatesv1.UsageDecipherOnly: x509.KeyUsageDecipherOnly,
	}
	more := map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
		certificatesv1.UsageAny: x509.ExtKeyUsageAny, certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
		certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificatesv1.UsageCodeSigning: x509.ExtKeyUsageCodeSigning,
		certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection, certificatesv1.UsageSMIME: x509.ExtKeyUsageEmailProtection,
		certificatesv1.UsageIPsecEndSystem: x509.ExtKeyUsageIPSECEndSystem, certificatesv1.UsageIPsecTunnel: x509.ExtKeyUsageIPSECTunnel,
		certificatesv1.UsageIPsecUser: x509.ExtKeyUsageIPSECUser, certificatesv1.UsageTimestamping: x509.ExtKeyUsageTimeStamping,
		certificatesv1.UsageOCSPSigning: x509.ExtKeyUsageOCSPSigning, certificatesv1.UsageMicrosoftSGC: x509.ExtKeyUsageMicrosoftServerGatedCrypto,
		certificatesv1.UsageNetscapeSGC: x509.ExtKeyUsageNetscapeServerGatedCrypto,
	}
	for _, name := range of {
		if u, ok := plain[name]; ok {
			usage |= u
		} else if u, ok := more[name]; !ok {
			return 0, nil, fmt.Errorf("unrecognized usage: %q", name)
		} else if !slices.Contains(extended, u) {
			extended = append(extended, u)
		}
	}
	slices.Sort(extended)
	return usage, extended, nil
}

// checkClient is for clients of the API server.
func checkClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	client := false
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			client = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !client {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// checkKubeletClient is for kubelets as clients: a node's name, and nothing else.
func checkKubeletClient(asked *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(asked.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(asked.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(asked.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(asked.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(asked.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !isNodeName(asked.Subject.CommonName):
		return errors.New("subject common name does not begin with system:node:")
	}
	return checkUsages(usages, certificatesv1.UsageClientAuth)
}

// checkKubeletServing is for kubelets as servers: a node's name, and where it is.
func checkKubeletServing(asked *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(asked.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(asked.DNSNames) == 0 && len(asked.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(asked.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(asked.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := checkUsages(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	if !isNodeName(asked.Subject.CommonName) {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// checkUsages wants a kubelet's usages: digital signature, its purpose and, with keys that can, key encipherment.
func checkUsages(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	all := []certificatesv1.KeyUsage{purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	slices.Sort(all)
	got := slices.Compact(slices.Sorted(slices.Values(usages)))
	if slices.Equal(got, all) {
		return nil
	}
	if slices.Equal(got, slices.DeleteFunc(slices.Clone(all), func(u certificatesv1.KeyUsage) bool { return u == certificatesv1.UsageKeyEncipherment })) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", all)
}
