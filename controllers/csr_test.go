package controllers

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

func TestForHowLongCertificatesAre(t *testing.T) {
	far := noon().AddDate(10, 0, 0)
	for name, c := range map[string]struct {
		seconds  *int32
		end      time.Time
		from, to time.Duration
	}{
		"a year if nothing is asked":           {nil, far, -backdated, certificateLife - backdated},
		"as long as asked":                     {ptr.To[int32](86400), far, -backdated, 24*time.Hour - backdated},
		"a short one loses nothing at its end": {ptr.To[int32](3600), far, -backdated, time.Hour},
		"not less than makes sense":            {ptr.To[int32](1), far, -backdated, shortestLife},
		"not longer than a year":               {ptr.To[int32](1 << 30), far, -backdated, certificateLife - backdated},
		"not longer than its issuer's":         {nil, noon().Add(time.Hour), -backdated, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := certificateSpan(c.seconds, certificateLife, noon(), c.end)
			if from.Sub(noon()) != c.from || to.Sub(noon()) != c.to {
				t.Errorf("from %v to %v, want %v and %v", from.Sub(noon()), to.Sub(noon()), c.from, c.to)
			}
		})
	}
}

func TestWhenRequestsGo(t *testing.T) {
	request := func(issued bool, conditions ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(noon())}}
		for _, of := range conditions {
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: of, Status: corev1.ConditionTrue,
				LastUpdateTime: metav1.NewTime(noon().Add(time.Minute))})
		}
		if issued {
			r.Status.Certificate = []byte("one")
		}
		return r
	}
	for name, c := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		after   time.Duration
	}{
		"nobody looks at it":               {request(false), 24 * time.Hour},
		"it was denied":                    {request(false, certificatesv1.CertificateDenied), time.Hour + time.Minute},
		"it was issued":                    {request(true, certificatesv1.CertificateApproved), time.Hour + time.Minute},
		"it failed":                        {request(false, certificatesv1.CertificateApproved, certificatesv1.CertificateFailed), time.Hour + time.Minute},
		"it was approved, no issue":        {request(false, certificatesv1.CertificateApproved), 24*time.Hour + time.Minute},
		"its signer has a word of its own": {request(false, certificatesv1.CertificateApproved, "example.com/Queued"), 24*time.Hour + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := csrEnd(c.request).Sub(noon()); got != c.after {
				t.Errorf("%v, want %v", got, c.after)
			}
		})
	}
}

func TestARequestIsApprovedWhenItMayBe(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := func(name string) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: []string{"system:nodes"}}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	for name, c := range map[string]struct {
		user, of string
		may      string // the sub-resource that the user has the right to
		message  string // of the approval; empty for none
		again    bool
	}{
		"a machine that joins":               {"joiner", "system:node:n", "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", false},
		"a node that renews its own":         {"system:node:n", "system:node:n", "selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", false},
		"a node that asks for another's":     {"system:node:m", "system:node:n", "selfnodeclient", "", true},
		"who has no right may have it later": {"joiner", "system:node:n", "", "", true},
		"what is no kubelet's is not judged": {"joiner", "n", "nodeclient", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{Username: c.user,
				SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName, Request: asked(c.of),
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}}}
			api := fake.NewClientset(csr)
			api.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
				review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
				review.Status.Allowed = review.Spec.User == c.user && review.Spec.ResourceAttributes.Subresource == c.may
				return true, review, nil
			})
			config := &Config{Informers: informers.NewSharedInformerFactory(api, 0)}
			x := &csrApproval{config.Source(&certificatesv1.CertificateSigningRequest{})}
			if err := x.requests.informer.GetStore().Add(csr); err != nil {
				t.Fatal(err)
			}
			l := &loop{config: config}
			l.awaited.init(clocktesting.NewFakeClock(noon()), nil)
			err := x.reconcile(t.Context(), &Turn{Key: Key{Name: "r"}, Client: api, Now: noon(), loop: l})
			if (err != nil) != c.again {
				t.Errorf("%v; again: %v", err, c.again)
			}
			now, err := api.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "r", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			message := ""
			if len(now.Status.Conditions) > 0 {
				message = now.Status.Conditions[0].Message
			}
			if message != c.message {
				t.Errorf("%q, want %q", message, c.message)
			}
		})
	}
}
