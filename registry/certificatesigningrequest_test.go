package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newRequest(t *testing.T, conditions ...certificatesv1.CertificateSigningRequestCondition) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r", ResourceVersion: "1"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: "example.com/signer", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
		Status: certificatesv1.CertificateSigningRequestStatus{Conditions: conditions},
	}
}

func requestCondition(t certificatesv1.RequestConditionType, message string) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{Type: t, Status: corev1.ConditionTrue, Message: message}
}

func TestEachDoorOfACertificateRequestHasItsPowers(t *testing.T) {
	approved := requestCondition(certificatesv1.CertificateApproved, "")
	denied := requestCondition(certificatesv1.CertificateDenied, "")
	failed := requestCondition(certificatesv1.CertificateFailed, "")
	tests := []struct {
		rule     string
		may      csrPowers
		old, new []certificatesv1.CertificateSigningRequestCondition
		fields   []string
	}{
		{"approvers approve", csrPowers{approve: true}, nil, conditions(approved), nil},
		{"signers do not", csrPowers{sign: true}, nil, conditions(approved), []string{"status.conditions"}},
		{"signers may fail", csrPowers{sign: true}, conditions(approved), conditions(approved, failed), nil},
		{"a decision is not taken back", csrPowers{approve: true}, conditions(approved), nil, []string{"status.conditions"}},
		{"nor a failure", csrPowers{sign: true}, conditions(failed), nil, []string{"status.conditions"}},
		{"nobody approves and denies", csrPowers{approve: true}, conditions(approved), conditions(approved, denied), []string{"status.conditions"}},
		{"a request that is both may stay so", csrPowers{approve: true}, conditions(approved, denied), conditions(approved, denied), nil},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old := newRequest(t, test.old...)
			changed := old.DeepCopy()
			changed.Status.Conditions = test.new
			expectFields(t, validateCSR(changed, old, test.may), test.fields...)
		})
	}
}

func conditions(c ...certificatesv1.CertificateSigningRequestCondition) []certificatesv1.CertificateSigningRequestCondition {
	return c
}

func TestSignersDoNotRewriteTheApproval(t *testing.T) {
	old := newRequest(t, requestCondition(certificatesv1.CertificateApproved, "by the approver"))
	changed := old.DeepCopy()
	changed.Status.Conditions[0].Message = "by the signer"
	prepareCSRStatus(&Write{Now: time.Unix(7, 0)}, changed, old)
	if got := changed.Status.Conditions[0].Message; got != "by the approver" {
		t.Errorf("the approval's message is now %q", got)
	}
}

func TestConditionsOfRequestsGetTheirTimes(t *testing.T) {
	before, now := metav1.NewTime(time.Unix(3, 0)), time.Unix(7, 0)
	approved := requestCondition(certificatesv1.CertificateApproved, "")
	approved.LastTransitionTime, approved.LastUpdateTime = before, before
	old := newRequest(t, approved)
	changed := old.DeepCopy()
	changed.Status.Conditions = conditions(requestCondition(certificatesv1.CertificateApproved, "again"), requestCondition(certificatesv1.CertificateFailed, ""))
	prepareCSRApproval(&Write{Now: now}, changed, old)
	again, failed := changed.Status.Conditions[0], changed.Status.Conditions[1]
	if !again.LastTransitionTime.Equal(&before) || !again.LastUpdateTime.Time.Equal(now) {
		t.Errorf("a condition that was there before has the times %v and %v", again.LastTransitionTime, again.LastUpdateTime)
	}
	if !failed.LastTransitionTime.Time.Equal(now) {
		t.Errorf("a new condition has the time %v", failed.LastTransitionTime)
	}
}

func TestCertificateIsWrittenOnce(t *testing.T) {
	old := newRequest(t)
	old.Status.Certificate = []byte("what was stored before anybody looked")
	changed := old.DeepCopy()
	expectFields(t, validateCSR(changed, old, csrPowers{sign: true}))
	changed.Status.Certificate = nil
	expectFields(t, validateCSR(changed, old, csrPowers{sign: true}), "status.certificate")
}
