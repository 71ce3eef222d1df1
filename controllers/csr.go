package controllers

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcertificates "k8s.io/client-go/kubernetes/typed/certificates/v1"
)

// csrApproval promises that a kubelet gets its client certificate without anybody's doing, if it may: one for itself that it
// renews (sub-resource selfnodeclient), or a node's first one that a bootstrap identity asks for (nodeclient).
//
// The subtle case is who asks: the API server is asked about the user whom the request names, who is its creator.
type csrApproval struct{ requests *Source }

func csrApprovalLoop(c *Config) Loop {
	x := &csrApproval{c.Source(&certificatesv1.CertificateSigningRequest{})}
	return Loop{Watches: []Watch{{x.requests, itself}}, Reconcile: x.reconcile}
}

func (x *csrApproval) reconcile(ctx context.Context, t *Turn) error {
	csr, _ := x.requests.cached(t.Key).(*certificatesv1.CertificateSigningRequest)
	if csr == nil || len(csr.Status.Certificate) > 0 || csrIs(csr, certificatesv1.CertificateApproved) || csrIs(csr, certificatesv1.CertificateDenied) ||
		csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	asked, err := parseCSR(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr %q: %w", csr.Name, err)
	}
	if checkKubeletClient(asked, csr.Spec.Usages) != nil {
		return nil // for people to judge
	}
	for _, way := range csrWays(csr, asked) {
		allowed, err := mayCSR(ctx, t, csr, way.subresource)
		if err != nil {
			return err
		}
		if allowed {
			return x.approve(ctx, t, csr, way.message)
		}
	}
	// Rights are often given after the first machine has asked: it is looked at again. Meanwhile people may judge it.
	return &known{fmt.Errorf("%s may not have a certificate unasked", csr.Spec.Username)}
}

type csrWay struct{ subresource, message string }

// csrWays are the rights of which one is enough, in the order in which they are asked for.
func csrWays(csr *certificatesv1.CertificateSigningRequest, asked *x509.CertificateRequest) (ways []csrWay) {
	if csr.Spec.Username == asked.Subject.CommonName {
		ways = append(ways, csrWay{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."})
	}
	return append(ways, csrWay{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."})
}

func mayCSR(ctx context.Context, t *Turn, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range csr.Spec.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	review, err := t.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create",
				Subresource: subresource, Version: "*"}}}, metav1.CreateOptions{})
	return err == nil && review.Status.Allowed, err
}

func (x *csrApproval) approve(ctx context.Context, t *Turn, csr *certificatesv1.CertificateSigningRequest, message string) error {
	changed := csr.DeepCopy()
	changed.Status.Conditions = append(changed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message})
	_, err := UpdateStatus(ctx, t, csrVerdicts{t.Client.CertificatesV1().CertificateSigningRequests()}, changed)
	return goneAlready(err)
}

// csrVerdicts writes the sub-resource in which approval and denial stand.
type csrVerdicts struct {
	client typedcertificates.CertificateSigningRequestInterface
}

func (v csrVerdicts) UpdateStatus(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, o metav1.UpdateOptions) (*certificatesv1.CertificateSigningRequest, error) {
	return v.client.UpdateApproval(ctx, csr.Name, csr, o)
}

func csrIs(csr *certificatesv1.CertificateSigningRequest, what certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == what && c.Status != corev1.ConditionFalse
	})
}

func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// csrCleaning promises that requests do not pile up: those that are settled go after an hour, those that nobody looks at
// after a day, and those whose certificate has run out at once.
type csrCleaning struct{ requests *Source }

func csrCleaningLoop(c *Config) Loop {
	x := &csrCleaning{c.Source(&certificatesv1.CertificateSigningRequest{})}
	return Loop{Watches: []Watch{{x.requests, itself}}, Reconcile: x.reconcile}
}

func (x *csrCleaning) reconcile(ctx context.Context, t *Turn) error {
	csr, _ := x.requests.cached(t.Key).(*certificatesv1.CertificateSigningRequest)
	if csr == nil {
		return nil
	}
	if end := csrEnd(csr); end.After(t.Now) {
		t.Again(end.Sub(t.Now))
		return nil
	}
	return Delete(ctx, t, t.Client.CertificatesV1().CertificateSigningRequests(), csr, metav1.DeleteOptions{})
}

const (
	settledCSRAge = time.Hour
	pendingCSRAge = 24 * time.Hour
)

// csrEnd is when a request goes.
func csrEnd(csr *certificatesv1.CertificateSigningRequest) time.Time {
	if len(csr.Status.Conditions) == 0 {
		return csr.CreationTimestamp.Add(pendingCSRAge)
	}
	issued := len(csr.Status.Certificate) > 0
	end := csr.CreationTimestamp.Add(100 * 365 * 24 * time.Hour)
	for _, c := range csr.Status.Conditions {
		age := settledCSRAge
		switch {
		case c.Type == certificatesv1.CertificateApproved && !issued:
			age = pendingCSRAge
		case !slices.Contains([]certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed}, c.Type):
			continue // a signer's own
		}
		if at := c.LastUpdateTime.Add(age); !c.LastUpdateTime.IsZero() && at.Before(end) {
			end = at
		}
		if c.Type == certificatesv1.CertificateApproved && issued {
			if runsOut, ok := certificateEnd(csr.Status.Certificate); ok && runsOut.Before(end) {
				end = runsOut
			}
		}
	}
	return end
}

func certificateEnd(text []byte) (time.Time, bool) {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return c.NotAfter, true
}

// isNodeName reports whether a name is one under which kubelets ask.
func isNodeName(name string) bool { return strings.HasPrefix(name, "system:node:") }
