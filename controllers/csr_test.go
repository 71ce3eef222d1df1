package controllers

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		"nobody looks at it":        {request(false), 24 * time.Hour},
		"it was denied":             {request(false, certificatesv1.CertificateDenied), time.Hour + time.Minute},
		"it was issued":             {request(true, certificatesv1.CertificateApproved), time.Hour + time.Minute},
		"it failed":                 {request(false, certificatesv1.CertificateApproved, certificatesv1.CertificateFailed), time.Hour + time.Minute},
		"it was approved, no issue": {request(false, certificatesv1.CertificateApproved), 24*time.Hour + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := csrEnd(c.request).Sub(noon()); got != c.after {
				t.Errorf("%v, want %v", got, c.after)
			}
		})
	}
}
