package registry

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// legacySigner is the signer that v1 of the API does not allow any more.
const legacySigner = "kubernetes.io/legacy-unknown"

// csrPowers are what may be written through a door.
type csrPowers struct {
	approve bool // the conditions Approved and Denied
	sign    bool // the certificate, once
}

// csrLeniency is what an old object does wrong by today's rules, and may go on doing.
type csrLeniency struct {
	bothDecisions, legacySigner, sameConditions, unnamedConditions, anyCertificate, unknownUsages, sameUsages bool
}

// validateCSR judges a request, and what has changed in it.
func validateCSR(c, old *certificatesv1.CertificateSigningRequest, may csrPowers) field.ErrorList {
	tolerate := csrLeniencyFor(c, old)
	errs := validateCSRSpec(c, tolerate)
	errs = append(errs, validateCSRConditions(c, tolerate)...)
	certificate := field.NewPath("status", "certificate")
	if err := checkPEMCertificates(c.Status.Certificate); err != nil && !tolerate.anyCertificate {
		errs = append(errs, field.Invalid(certificate, "<certificate data>", err.Error()))
	}
	if old == nil {
		return errs
	}
	errs = append(errs, validateCSRDecisions(c, old, may)...)
	switch changed := !bytes.Equal(c.Status.Certificate, old.Status.Certificate); {
	case changed && !may.sign:
		errs = append(errs, field.Forbidden(certificate, "updates may not set certificate content"))
	case changed && len(old.Status.Certificate) > 0:
		errs = append(errs, field.Forbidden(certificate, "updates may not modify existing certificate content"))
	}
	return errs
}

func csrLeniencyFor(c, old *certificatesv1.CertificateSigningRequest) csrLeniency {
	if old == nil {
		return csrLeniency{}
	}
	var l csrLeniency
	l.bothDecisions = len(csrConditions(old, certificatesv1.CertificateApproved)) > 0 && len(csrConditions(old, certificatesv1.CertificateDenied)) > 0
	l.legacySigner = old.Spec.SignerName == legacySigner
	l.anyCertificate = bytes.Equal(c.Status.Certificate, old.Status.Certificate) || checkPEMCertificates(old.Status.Certificate) != nil
	types := sets.New[certificatesv1.RequestConditionType]()
	for _, condition := range old.Status.Conditions {
		l.unnamedConditions = l.unnamedConditions || condition.Type == ""
		types.Insert(condition.Type)
	}
	l.sameConditions = len(types) < len(old.Status.Conditions)
	l.sameUsages = len(sets.New(old.Spec.Usages...)) < len(old.Spec.Usages)
	l.unknownUsages = slices.ContainsFunc(old.Spec.Usages, func(u certificatesv1.KeyUsage) bool { return !slices.Contains(keyUsages(), u) })
	return l
}

// keyUsages are what a certificate may be asked for, sorted as messages list them.
func keyUsages() []certificatesv1.KeyUsage {
	usages := []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
		certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
		certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly,
		certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection,
		certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
		certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping, certificatesv1.UsageOCSPSigning,
		certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	}
	slices.Sort(usages)
	return usages
}

func validateCSRSpec(c *certificatesv1.CertificateSigningRequest, tolerate csrLeniency) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if err := checkPEMRequest(c.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(path.Child("request"), c.Spec.Request, err.Error()))
	}
	if len(c.Spec.Usages) == 0 {
		errs = append(errs, field.Required(path.Child("usages"), ""))
	}
	seen := sets.New[certificatesv1.KeyUsage]()
	for i, usage := range c.Spec.Usages {
		if !tolerate.unknownUsages {
			errs = append(errs, validateChoice(usage, path.Child("usages").Index(i), keyUsages()...)...)
		}
		if seen.Has(usage) && !tolerate.sameUsages {
			errs = append(errs, field.Duplicate(path.Child("usages").Index(i), usage))
		}
		seen.Insert(usage)
	}
	if c.Spec.SignerName == legacySigner && !tolerate.legacySigner {
		errs = append(errs, field.Invalid(path.Child("signerName"), c.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validateSignerName(c.Spec.SignerName, path.Child("signerName"))...)
	}
	if s := c.Spec.ExpirationSeconds; s != nil && *s < 600 {
		errs = append(errs, field.Invalid(path.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

// checkPEMRequest wants a PKCS #10 request in PEM, signed with its own key.
func checkPEMRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// checkPEMCertificates wants nothing, or certificates in PEM and no other blocks.
func checkPEMCertificates(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
	}
	return nil
}

func validateCSRConditions(c *certificatesv1.CertificateSigningRequest, tolerate csrLeniency) field.ErrorList {
	path := field.NewPath("status", "conditions")
	var errs field.ErrorList
	seen := sets.New[certificatesv1.RequestConditionType]()
	for i, condition := range c.Status.Conditions {
		at := path.Index(i)
		if condition.Type == "" && !tolerate.unnamedConditions {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		errs = append(errs, validateRequiredChoice(condition.Status, at.Child("status"), csrConditionStatuses(condition.Type)...)...)
		other := otherCSRDecision(condition.Type)
		if other != "" && seen.Has(other) && !tolerate.bothDecisions {
			errs = append(errs, field.Invalid(path, condition.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		if seen.Has(condition.Type) && !tolerate.sameConditions {
			errs = append(errs, field.Duplicate(at.Child("type"), condition.Type))
		}
		seen.Insert(condition.Type)
	}
	return errs
}

// csrConditionStatuses: that a decision is not made is said by its absence.
func csrConditionStatuses(t certificatesv1.RequestConditionType) []corev1.ConditionStatus {
	switch t {
	case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
		return []corev1.ConditionStatus{corev1.ConditionTrue}
	}
	return []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
}

func otherCSRDecision(t certificatesv1.RequestConditionType) certificatesv1.RequestConditionType {
	switch t {
	case certificatesv1.CertificateApproved:
		return certificatesv1.CertificateDenied
	case certificatesv1.CertificateDenied:
		return certificatesv1.CertificateApproved
	}
	return ""
}

// validateCSRDecisions lets nobody take back a decision or a failure, and only approvers decide.
func validateCSRDecisions(c, old *certificatesv1.CertificateSigningRequest, may csrPowers) field.ErrorList {
	path := field.NewPath("status", "conditions")
	var errs field.ErrorList
	for _, t := range []certificatesv1.RequestConditionType{
		certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		before, after := csrConditions(old, t), csrConditions(c, t)
		decision := t != certificatesv1.CertificateFailed
		switch {
		case len(after) < len(before):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		case !decision || may.approve:
		case len(after) > len(before):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !equal(before, after):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, diff.Diff(before, after))))
		}
	}
	return errs
}
