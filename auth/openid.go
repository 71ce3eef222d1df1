package auth

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

// OpenID is how others learn to verify service account tokens: two documents in the form of OpenID Connect Discovery
// 1.0, with as much in them as Kubernetes needs. They follow the keys.
type OpenID struct {
	issuer, keysURI string
	source          KeySource
	current         atomic.Pointer[OpenIDDocuments]
}

// OpenIDDocuments are what others are told for as long as the keys are these.
type OpenIDDocuments struct {
	Configuration []byte // of the issuer, JSON
	Keys          []byte // a JSON Web Key Set (RFC 7517)
	set           *KeySet
}

// KeysPath is where the API server serves the key set.
const KeysPath = "/openid/v1/jwks"

// NewOpenID describes an issuer whose key set is at keysURI; if that is empty, at the API server's own address, a host
// and port. An issuer that is no URL as the standard wants it is an error: its tokens are good for the API server alone.
func NewOpenID(issuer, keysURI, address string, source KeySource) (*OpenID, error) {
	at, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	if at.Scheme != "https" || at.RawQuery != "" || at.Fragment != "" {
		return nil, fmt.Errorf("issuer %q is no https URL without query and fragment", issuer)
	}
	if keysURI == "" {
		keysURI = (&url.URL{Scheme: "https", Host: address, Path: KeysPath}).String()
	}
	return &OpenID{issuer: issuer, keysURI: keysURI, source: source}, nil
}

// Documents returns today's, and for how many seconds they may be kept.
func (o *OpenID) Documents(now time.Time) (d *OpenIDDocuments, maxAge int, err error) {
	const unchanging = 3600
	set := o.source.Keys()
	if d = o.current.Load(); d == nil || !d.set.same(set) {
		if d, err = o.describe(set); err != nil {
			return nil, 0, err
		}
		o.current.Store(d)
	}
	if set.Until.IsZero() {
		return d, unchanging, nil
	}
	return d, max(0, int(set.Until.Sub(now).Seconds())), nil
}

func (o *OpenID) describe(keys *KeySet) (d *OpenIDDocuments, err error) {
	set := struct {
		Keys []webKey `json:"keys"`
	}{}
	algorithms := []string{}
	for _, k := range keys.Keys {
		if k.hidden {
			continue
		}
		set.Keys = append(set.Keys, k.webKey())
		algorithms = append(algorithms, k.algorithms[0])
	}
	slices.Sort(algorithms)
	config := struct {
		Issuer        string   `json:"issuer"`
		KeysURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{o.issuer, o.keysURI, []string{"id_token"}, []string{"public"}, slices.Compact(algorithms)}
	d = &OpenIDDocuments{set: keys}
	if d.Configuration, err = json.Marshal(config); err != nil {
		return nil, err
	}
	d.Keys, err = json.Marshal(set)
	return d, err
}

// webKey is a public key as RFC 7517 and 7518 write it.
type webKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	Algorithm string `json:"alg"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Modulus   string `json:"n,omitempty"`
	Exponent  string `json:"e,omitempty"`
}

func (k verificationKey) webKey() webKey {
	w := webKey{Use: "sig", ID: k.id, Algorithm: k.algorithms[0]}
	encode := base64.RawURLEncoding.EncodeToString
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		w.Type, w.Modulus, w.Exponent = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, X, Y: both as long as the curve's field
		if err != nil {
			panic(err) // only for curves that are not NIST's, of which there are no keys here
		}
		half := len(point) / 2
		w.Type, w.Curve = "EC", public.Params().Name
		w.X, w.Y = encode(point[1:1+half]), encode(point[1+half:])
	}
	return w
}
