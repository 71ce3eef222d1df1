package encryption

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
)

// ring is ciphers in order of preference. The first seals; whose prefix a value has opens it. A provider of several keys
// is a ring within the ring.
type ring struct {
	none    error // nobody has the value's prefix
	members []member
}

type member struct {
	prefix string
	cipher value.Transformer
}

var errNoPrefix = errors.New("no matching prefix found")

// TransformToStorage seals with the first cipher.
func (r ring) TransformToStorage(ctx context.Context, plain []byte, at value.Context) ([]byte, error) {
	first := r.members[0]
	sealed, err := first.cipher.TransformToStorage(ctx, plain, at)
	if err != nil || first.prefix == "" {
		return sealed, err
	}
	return append([]byte(first.prefix), sealed...), nil
}

// TransformFromStorage opens. Several members may have the same prefix (one provider configured twice, with different
// keys), so one that fails is not the last word.
func (r ring) TransformFromStorage(ctx context.Context, sealed []byte, at value.Context) ([]byte, bool, error) {
	var errs []error
	for i, m := range r.members {
		rest, ok := bytes.CutPrefix(sealed, []byte(m.prefix))
		if !ok {
			continue
		}
		plain, stale, err := m.cipher.TransformFromStorage(ctx, rest, at)
		if err == nil {
			return plain, stale || i > 0, nil
		}
		if m.prefix != "" { // identity looks at every value
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, false, utilerrors.Reduce(utilerrors.NewAggregate(errs))
	}
	return nil, false, r.none
}

// keyRing is the ring of a provider that holds its keys.
func keyRing(prefix, name string, keys []apiserverv1.Key, cipherOf func(secret []byte) (value.Transformer, error)) (member, error) {
	r := ring{none: fmt.Errorf("no matching key was found for the provided %s transformer", name)}
	for _, k := range keys {
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		if err != nil {
			return member{}, fmt.Errorf("key %s: the secret is not base64", k.Name)
		}
		c, err := cipherOf(secret)
		if err != nil {
			return member{}, fmt.Errorf("key %s: %w", k.Name, err)
		}
		r.members = append(r.members, member{k.Name + ":", c})
	}
	return member{prefix, r}, nil
}

func newCBC(secret []byte) (value.Transformer, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cbc{aestransformer.NewCBCTransformer(block)}, nil
}

// cbc refuses what is too short to hold a block, for which the library, looking for the padding, panics.
type cbc struct{ value.Transformer }

func (c cbc) TransformFromStorage(ctx context.Context, sealed []byte, at value.Context) ([]byte, bool, error) {
	if len(sealed) < 2*aes.BlockSize {
		return nil, false, errors.New("the stored data was shorter than the required size")
	}
	return c.Transformer.TransformFromStorage(ctx, sealed, at)
}

func newGCM(secret []byte) (value.Transformer, error) {
	var block cipher.Block
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return aestransformer.NewGCMTransformer(block)
}

func newSecretbox(secret []byte) (value.Transformer, error) {
	var key [32]byte
	if copy(key[:], secret) != len(secret) || len(secret) != len(key) {
		return nil, fmt.Errorf("the secret has %d bytes, not %d", len(secret), len(key))
	}
	return secretbox.NewSecretboxTransformer(key), nil
}

// identity does not encrypt, and does not take ciphertext for something to be served.
type identity struct{}

// Marked reports whether a value is sealed by any provider.
func Marked(stored []byte) bool { return bytes.HasPrefix(stored, []byte("k8s:enc:")) }

// TransformToStorage returns the value as it is.
func (identity) TransformToStorage(_ context.Context, plain []byte, _ value.Context) ([]byte, error) {
	return plain, nil
}

// TransformFromStorage returns the value as it is, or fails if it is sealed.
func (identity) TransformFromStorage(_ context.Context, stored []byte, _ value.Context) ([]byte, bool, error) {
	if Marked(stored) {
		return nil, false, errors.New("identity transformer tried to read encrypted data")
	}
	return stored, false, nil
}
