package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

func TestTokenSaysWhoseItIsAndWhatItDiesWith(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := SignWith(key)
	if err != nil {
		t.Fatal(err)
	}
	issuer := NewIssuer(IssuerConfig{Name: "https://issuer", Signer: signer})
	token, err := issuer.Issue(t.Context(), registry.TokenGrant{
		Account:   &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "u1"}},
		Pod:       &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u2"}},
		Audiences: issuer.Audiences(), Issued: time.Now(), Seconds: 3607, WarnAfter: 3000,
	})
	if err != nil {
		t.Fatal(err)
	}
	read := &accountClaims{}
	parsed, err := jwt.ParseWithClaims(token, read, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
		jwt.WithIssuer("https://issuer"), jwt.WithAudience("https://issuer"), jwt.WithSubject("system:serviceaccount:ns:robot"))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["kid"] == "" || parsed.Header["alg"] != "ES256" {
		t.Errorf("header %v", parsed.Header)
	}
	if life := read.ExpiresAt.Sub(read.IssuedAt.Time); life != 3607*time.Second {
		t.Errorf("it lives for %v", life)
	}
	want := boundClaims{Namespace: "ns", Account: reference{"robot", "u1"}, Pod: &reference{"p", "u2"}, WarnAfter: read.Kubernetes.WarnAfter}
	if d := cmp.Diff(want, read.Kubernetes); d != "" {
		t.Error(d)
	}
}
