package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// certificateSubject refuses requests for a client certificate of the group that may do everything.
func certificateSubject() Plugin {
	return Plugin{Operations: []Operation{Create}, Validate: func(_ context.Context, a *Attributes) error {
		csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || !a.Is(certificatesv1.GroupName, "certificatesigningrequests") || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		request, err := parseCSR(csr.Spec.Request)
		if err != nil {
			return a.forbid("failed to parse CSR: %w", err)
		}
		if slices.Contains(request.Subject.Organization, "system:masters") {
			return a.forbid("use of %s signer with system:masters group is not allowed", csr.Spec.SignerName)
		}
		return nil
	}}
}

// parseCSR reads the PEM of a certificate request.
func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
