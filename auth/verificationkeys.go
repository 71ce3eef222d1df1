package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"k8s.io/client-go/util/keyutil"
)

// VerificationKeys are public keys whose signatures on service account tokens count. There may be several, so that
// tokens signed with the last key stay good while the next one is taken into use.
type VerificationKeys []verificationKey

// KeySource has the keys that verify service account tokens.
type KeySource interface {
	// Keys are today's. A set never changes: newer keys are another set.
	Keys() *KeySet
	// Search looks for a key that is not among them, where there might be newer ones.
	Search(ctx context.Context, id string) *KeySet
}

// KeySet is all the keys that count at a time.
type KeySet struct {
	Keys  VerificationKeys
	Until time.Time // when newer ones will be looked for; zero if there will be none
}

// same says whether the keys are the very ones of another set.
func (s *KeySet) same(other *KeySet) bool {
	return s == other || len(s.Keys) > 0 && len(other.Keys) > 0 && &s.Keys[0] == &other.Keys[0]
}

// FixedKeys never change.
func FixedKeys(keys VerificationKeys) KeySource { return &fixedKeys{KeySet{Keys: keys}} }

type fixedKeys struct{ set KeySet }

func (f *fixedKeys) Keys() *KeySet                          { return &f.set }
func (f *fixedKeys) Search(context.Context, string) *KeySet { return &f.set }

// verificationKey is a public key, the id by which tokens name it, and the algorithms in which it may sign: never one
// that takes another kind of key, for then a public key could be passed off as a shared secret.
type verificationKey struct {
	id         string
	public     crypto.PublicKey
	algorithms []string // the first is the one that tokens are issued in
	hidden     bool     // from others: it verifies tokens of old
}

func (k verificationKey) equal(other verificationKey) bool {
	public, comparable := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return comparable && public.Equal(other.public) && k.id == other.id && k.hidden == other.hidden
}

// NewVerificationKeys takes RSA keys and ECDSA keys on NIST's curves.
func NewVerificationKeys(publics ...any) (VerificationKeys, error) {
	var keys VerificationKeys
	for _, public := range publics {
		algorithms := algorithmsOf(public)
		if algorithms == nil {
			return nil, fmt.Errorf("service account tokens cannot be verified with a %T", public)
		}
		id, err := keyID(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, verificationKey{id: id, public: public, algorithms: algorithms})
	}
	return keys, nil
}

// ReadVerificationKeys reads files of public or private keys or certificates, in PEM, several to a file.
func ReadVerificationKeys(paths []string) (VerificationKeys, error) {
	var all VerificationKeys
	for _, path := range paths {
		publics, err := keyutil.PublicKeysFromFile(path)
		if err != nil {
			return nil, err
		}
		keys, err := NewVerificationKeys(publics...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

// named are the keys of an id; all of them for tokens that name none.
func (keys VerificationKeys) named(id string) VerificationKeys {
	if id == "" {
		return keys
	}
	var named VerificationKeys
	for _, k := range keys {
		if k.id == id {
			named = append(named, k)
		}
	}
	return named
}

// algorithmsOf are those of a key; nil for a key of no use.
func algorithmsOf(public crypto.PublicKey) []string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch k.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	}
	return nil
}

// keyID is a key's name in tokens and key sets: a digest, for whoever verifies tokens is to fetch the key itself, not
// to find it in the token.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
