package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestClusterInfoIsSigned(t *testing.T) {
	// RFC 7515 says how; the signature was computed with openssl.
	const signature = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4"
	got := signedInfo(map[string]string{"kubeconfig": "content", "other": "stays", "jws-kubeconfig-gonego": "x"}, map[string]string{"abcdef": "0123456789abcdef"})
	want := map[string]string{"kubeconfig": "content", "other": "stays", "jws-kubeconfig-abcdef": signature}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if signedInfo(map[string]string{"other": "x"}, nil) != nil {
		t.Error("there is nothing to sign")
	}
}

func TestTokensThatSign(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		change func(*corev1.Secret)
		want   bool
	}{
		"a good one":                         {func(*corev1.Secret) {}, true},
		"one that is for something else":     {func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-signing") }, false},
		"one under another's name":           {func(s *corev1.Secret) { s.Name = "bootstrap-token-fedcba" }, false},
		"one whose id is none":               {func(s *corev1.Secret) { s.Name, s.Data["token-id"] = "bootstrap-token-ABCDEF", []byte("ABCDEF") }, false},
		"one without a secret":               {func(s *corev1.Secret) { delete(s.Data, "token-secret") }, false},
		"one that expires later":             {func(s *corev1.Secret) { s.Data["expiration"] = []byte("1970-01-01T01:00:00Z") }, true},
		"one that has expired":               {func(s *corev1.Secret) { s.Data["expiration"] = []byte("1970-01-01T00:00:01Z") }, false},
		"one that expires nobody knows when": {func(s *corev1.Secret) { s.Data["expiration"] = []byte("soon") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: bootstrapTokenType, Data: map[string][]byte{
				"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")}}
			c.change(s)
			if _, _, got := signingToken(s, now); got != c.want {
				t.Errorf("signs: %v", got)
			}
		})
	}
}
