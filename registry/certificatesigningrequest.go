package registry

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1" // its wording stands in the tables
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// certificateSigningRequest asks a signer for a certificate. The spec says who asks and never changes; approvers write
// the conditions through one door, signers the certificate through another.
func certificateSigningRequest() *Resource {
	spec := func(name string) string { return doc(certificatesv1beta1.CertificateSigningRequestSpec{}, name) }
	return Kind[*certificatesv1.CertificateSigningRequest]{
		Resource: Resource{
			Group: certificatesv1.GroupName, Plural: "certificatesigningrequests", Singular: "certificatesigningrequest",
			Kind: "CertificateSigningRequest", ShortNames: []string{"csr"},
			Prefix: "certificatesigningrequests", Versions: []Version{{Name: "v1"}}, Reset: []string{"spec", "status"},
			ValidateName: func(string, bool) []string { return nil }, UpdateMeta: UpdateAndCreateRules,
			Columns: []metav1.TableColumnDefinition{
				nameColumn(),
				ageColumn(),
				textColumn("SignerName", spec("signerName")),
				textColumn("Requestor", spec("request")),
				textColumn("RequestedDuration", spec("expirationSeconds")),
				textColumn("Condition", doc(certificatesv1beta1.CertificateSigningRequestStatus{}, "conditions")),
			},
		},
		Prepare: prepareCSR,
		Validate: func(_ *Write, c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
			return validateCSR(c, old, csrPowers{})
		},
		Status: &Door[*certificatesv1.CertificateSigningRequest]{
			Reset: []string{"spec", "status.conditions"}, UpdateMeta: UpdateAndCreateRules,
			Prepare: prepareCSRStatus,
			Validate: func(_ *Write, c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
				return validateCSR(c, old, csrPowers{sign: true})
			},
		},
		Doors: map[string]Door[*certificatesv1.CertificateSigningRequest]{"approval": {
			Reset: []string{"spec", "status.certificate"}, UpdateMeta: UpdateAndCreateRules,
			Prepare: prepareCSRApproval,
			Validate: func(_ *Write, c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
				return validateCSR(c, old, csrPowers{approve: true})
			},
		}},
		Cells: csrCells,
		Fields: []Field[*certificatesv1.CertificateSigningRequest]{
			{Path: "spec.signerName", Value: func(c *certificatesv1.CertificateSigningRequest) string { return c.Spec.SignerName }},
		},
	}.row()
}

// prepareCSR writes down who asks. Nobody approves by creating.
func prepareCSR(w *Write, c, old *certificatesv1.CertificateSigningRequest) {
	if old != nil {
		c.Spec, c.Status = old.Spec, old.Status
		return
	}
	c.Spec.Username, c.Spec.UID, c.Spec.Groups, c.Spec.Extra = w.User.Name, w.User.UID, w.User.Groups, nil
	if len(w.User.Extra) > 0 {
		c.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		for key, values := range w.User.Extra {
			c.Spec.Extra[key] = values
		}
	}
	c.Status = certificatesv1.CertificateSigningRequestStatus{}
}

func prepareCSRStatus(w *Write, c, old *certificatesv1.CertificateSigningRequest) {
	c.Spec = old.Spec
	keepCSRConditions(c, old, certificatesv1.CertificateApproved)
	keepCSRConditions(c, old, certificatesv1.CertificateDenied)
	stampCSRConditions(c, old, w.Now)
}

func prepareCSRApproval(w *Write, c, old *certificatesv1.CertificateSigningRequest) {
	stampCSRConditions(c, old, w.Now)
	conditions := c.Status.Conditions
	c.Spec, c.Status = old.Spec, old.Status
	c.Status.Conditions = conditions
}

// keepCSRConditions restores the conditions of a type, if they are as many as before: signers repeat the approval in
// what they write, perhaps from a client that does not know all its fields. Validation finds added and missing ones.
func keepCSRConditions(c, old *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) {
	kept := csrConditions(old, t)
	if len(csrConditions(c, t)) != len(kept) {
		return
	}
	for i := range c.Status.Conditions {
		if c.Status.Conditions[i].Type == t {
			c.Status.Conditions[i], kept = kept[0], kept[1:]
		}
	}
}

func csrConditions(c *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var found []certificatesv1.CertificateSigningRequestCondition
	for _, condition := range c.Status.Conditions {
		if condition.Type == t {
			found = append(found, condition)
		}
	}
	return found
}

// stampCSRConditions fills in the times that the writer left out.
func stampCSRConditions(c, old *certificatesv1.CertificateSigningRequest, at time.Time) {
	now := metav1.NewTime(at)
	for i := range c.Status.Conditions {
		condition := &c.Status.Conditions[i]
		if condition.LastUpdateTime.IsZero() {
			condition.LastUpdateTime = now
		}
		if condition.LastTransitionTime.IsZero() {
			condition.LastTransitionTime = csrTransition(*condition, old, now)
		}
	}
}

// csrTransition is when the condition got its status: the time noted before, if it had it then.
func csrTransition(condition certificatesv1.CertificateSigningRequestCondition, old *certificatesv1.CertificateSigningRequest, now metav1.Time) metav1.Time {
	for _, before := range old.Status.Conditions {
		if before.Type == condition.Type && before.Status == condition.Status && !before.LastTransitionTime.IsZero() {
			return before.LastTransitionTime
		}
	}
	return now
}

func csrCells(c *certificatesv1.CertificateSigningRequest) []any {
	signer, life := "<none>", "<none>"
	if c.Spec.SignerName != "" {
		signer = c.Spec.SignerName
	}
	if s := c.Spec.ExpirationSeconds; s != nil {
		life = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{c.Name, Age{At: c.CreationTimestamp}, signer, c.Spec.Username, life, csrState(c)}
}

// csrState is "Pending", "Approved" or "Denied", and what came of it.
func csrState(c *certificatesv1.CertificateSigningRequest) string {
	state := "Pending"
	switch {
	case len(csrConditions(c, certificatesv1.CertificateDenied)) > 0:
		state = "Denied"
	case len(csrConditions(c, certificatesv1.CertificateApproved)) > 0:
		state = "Approved"
	}
	if len(csrConditions(c, certificatesv1.CertificateFailed)) > 0 {
		state += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
