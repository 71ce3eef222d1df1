package admission

import (
	"context"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/knarr-dev/knarr/registry"
)

// certificateApproval lets only those approve or deny a certificate who may approve for its signer. The request as it was
// says which signer that is.
func certificateApproval(host Host) (Plugin, error) {
	return Plugin{Operations: []Operation{Update}, Validate: func(ctx context.Context, a *Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Subresource != "approval" {
			return nil
		}
		if !mayForSigner(ctx, host.Authorizer, a.User, "approve", old.Spec.SignerName) {
			return a.forbid("user not permitted to approve requests with signerName %q", old.Spec.SignerName)
		}
		return nil
	}}, nil
}

// mayForSigner asks for the right to the signer, or to all signers of its domain (example.com/*). What cannot be decided
// is not allowed.
func mayForSigner(ctx context.Context, authorizer registry.Authorizer, user registry.User, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := authorizer.Authorize(ctx, &registry.Attributes{User: user, Verb: verb, ResourceRequest: true,
			Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name})
		if err == nil && decision == registry.Allow {
			return true
		}
	}
	return false
}
