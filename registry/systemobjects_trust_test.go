package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// authorityUntil is an authority's certificate, in PEM.
func authorityUntil(t *testing.T, end time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestServersPublishWhomTheyTrustTogether(t *testing.T) {
	now := time.Now()
	ours, theirs, expired := authorityUntil(t, now.Add(time.Hour)), authorityUntil(t, now.Add(time.Hour)), authorityUntil(t, now.Add(-time.Hour))
	trust := Trust{ClientCA: []byte(ours), ProxyCA: []byte(ours), ProxyNames: []string{"front-proxy-client"}, UserHeaders: []string{"X-Remote-User"},
		UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"}}
	lists := map[string]string{
		"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-uid-headers": `["X-Remote-Uid"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		"requestheader-allowed-names": `["front-proxy-client"]`,
	}
	with := func(changes map[string]string) map[string]string {
		all := map[string]string{"client-ca-file": ours, "requestheader-client-ca-file": ours}
		for _, from := range []map[string]string{lists, changes} {
			for key, value := range from {
				all[key] = value
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		have, want map[string]string
		fails      bool
	}{
		"the first one":                        {want: with(nil)},
		"once more changes nothing":            {have: with(nil), want: with(nil)},
		"another's authority stays":            {have: map[string]string{"client-ca-file": theirs}, want: with(map[string]string{"client-ca-file": theirs + ours})},
		"an expired authority goes":            {have: map[string]string{"client-ca-file": expired + theirs}, want: with(map[string]string{"client-ca-file": theirs + ours})},
		"another's names stay":                 {have: map[string]string{"requestheader-allowed-names": `["other"]`}, want: with(map[string]string{"requestheader-allowed-names": `["other","front-proxy-client"]`})},
		"what somebody else keeps there stays": {have: map[string]string{"x": "y"}, want: with(map[string]string{"x": "y"})},
		"what is no list is an error":          {have: map[string]string{"requestheader-allowed-names": "x"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &corev1.ConfigMap{Data: c.have}
			if err := trust.addTo(m, now); (err != nil) != c.fails {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, m.Data); d != "" && !c.fails {
				t.Error(d)
			}
		})
	}
}
