package admission

import (
	"bytes"
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// certificateSigning lets only those issue a certificate, or say that they will not, who may sign for its signer.
func certificateSigning(host Host) (Plugin, error) {
	return Plugin{Operations: []Operation{Update}, Validate: func(ctx context.Context, a *Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Subresource != "status" {
			return nil
		}
		csr := a.Object.(*certificatesv1.CertificateSigningRequest)
		if bytes.Equal(old.Status.Certificate, csr.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) {
			return nil
		}
		if !mayForSigner(ctx, host.Authorizer, a.User, "sign", old.Spec.SignerName) {
			return a.forbid("user not permitted to sign requests with signerName %q", old.Spec.SignerName)
		}
		return nil
	}}, nil
}
