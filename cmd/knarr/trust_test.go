package main

import (
	"crypto/x509"
	"testing"

	"k8s.io/client-go/rest"
)

func TestWithoutAuthoritiesNobodyIsKnownByACertificate(t *testing.T) {
	t.Parallel()
	s := defaultServing(0)
	nowhere := func(string) string { return "" }
	trust, err := s.trusts(nowhere, &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatalf("a part that does not verify the API server does not start: %v", err)
	}
	if pool := trust.Authorities.Pool(); !pool.Equal(x509.NewCertPool()) {
		t.Errorf("trusted: %v", pool)
	}
}
