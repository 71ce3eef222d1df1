package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
	"time"
)

func TestOthersFindIssuerAndKeys(t *testing.T) {
	// A point whose X begins with a zero byte: coordinates are as long as the field, whatever they are.
	var short *ecdsa.PrivateKey
	for short == nil || short.X.BitLen() > 248 {
		short = ecKey(t, elliptic.P256())
	}
	keys, err := NewVerificationKeys(&rsaKey(t).PublicKey, &short.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	openID, err := NewOpenID("https://issuer", "", "host:6443", FixedKeys(keys))
	if err != nil {
		t.Fatal(err)
	}
	o, age, err := openID.Documents(time.Now())
	if err != nil || age != 3600 {
		t.Fatal(age, err)
	}
	want := `{"issuer":"https://issuer","jwks_uri":"https://host:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256","RS256"]}`
	if string(o.Configuration) != want {
		t.Errorf("%s", o.Configuration)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(o.Keys, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0]["kty"] != "RSA" || set.Keys[0]["e"] != "AQAB" || set.Keys[1]["crv"] != "P-256" {
		t.Fatalf("%s", o.Keys)
	}
	x, err := base64.RawURLEncoding.DecodeString(set.Keys[1]["x"])
	if err != nil || len(x) != 32 || new(big.Int).SetBytes(x).Cmp(short.X) != 0 {
		t.Errorf("x is %x, %v", x, err)
	}
	for _, issuer := range []string{"kubernetes/serviceaccount", "http://issuer", "https://issuer?q", "https://issuer#f"} {
		if _, err := NewOpenID(issuer, "", "host", FixedKeys(keys)); err == nil {
			t.Errorf("%s can be discovered", issuer)
		}
	}
}
