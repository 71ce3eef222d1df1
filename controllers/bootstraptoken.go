package controllers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Machines join a cluster by a bootstrap token: an id and a secret in the Secret bootstrap-token-<id> of kube-system. Two
// controllers look after these; neither runs unless it is asked for.

const bootstrapTokenType corev1.SecretType = "bootstrap.kubernetes.io/token"

const (
	bootstrapTokenPrefix = "bootstrap-token-"
	signaturePrefix      = "jws-kubeconfig-"
)

// bootstrapSigner promises that the kubeconfig in the ConfigMap cluster-info of kube-public, which everybody may read, is
// signed with each token that is for signing: who has the token knows by the signature that it was not forged.
type bootstrapSigner struct{ secrets, maps *Source }

func bootstrapSignerLoop(c *Config) Loop {
	x := &bootstrapSigner{c.Source(&corev1.Secret{}), c.Source(&corev1.ConfigMap{})}
	info := clusterInfo()
	return Loop{
		Watches: []Watch{
			{x.maps, func(old, now metav1.Object) []Key {
				if now == nil || KeyOf(now) != info {
					return nil
				}
				return []Key{info}
			}},
			{x.secrets, func(old, now metav1.Object) []Key {
				if len(bootstrapTokenKeys(old, now)) == 0 {
					return nil
				}
				return []Key{info}
			}},
		},
		Reconcile: x.reconcile,
	}
}

func clusterInfo() Key { return Key{metav1.NamespacePublic, "cluster-info"} }

// bootstrapTokenKeys is the key of a Secret with a bootstrap token.
func bootstrapTokenKeys(old, now metav1.Object) []Key {
	if now == nil {
		now = old
	}
	if s := now.(*corev1.Secret); s.Namespace != metav1.NamespaceSystem || s.Type != bootstrapTokenType {
		return nil
	}
	return []Key{KeyOf(now)}
}

func (x *bootstrapSigner) reconcile(ctx context.Context, t *Turn) error {
	info, there := x.maps.cached(t.Key).(*corev1.ConfigMap)
	if !there {
		return nil
	}
	tokens := map[string]string{}
	for _, o := range x.secrets.all(metav1.NamespaceSystem) {
		s := o.(*corev1.Secret)
		if id, secret, signs := signingToken(s, t.Now); signs {
			tokens[id] = secret
			if at, expires := tokenExpiry(s); expires {
				t.Again(at.Sub(t.Now))
			}
		}
	}
	data := signedInfo(info.Data, tokens)
	if data == nil || maps.Equal(data, info.Data) {
		return nil
	}
	info = info.DeepCopy()
	info.Data = data
	_, err := Update(ctx, t, t.Client.CoreV1().ConfigMaps(t.Namespace), info)
	if apierrors.IsConflict(err) {
		return nil // it comes back with what has changed it
	}
	return goneAlready(err)
}

// signedInfo is cluster-info with the signatures of exactly these tokens; nil if there is nothing to sign.
func signedInfo(data, tokens map[string]string) map[string]string {
	content, there := data["kubeconfig"]
	if !there {
		return nil
	}
	signed := maps.Clone(data)
	maps.DeleteFunc(signed, func(k, _ string) bool { return strings.HasPrefix(k, signaturePrefix) })
	for id, secret := range tokens {
		signed[signaturePrefix+id] = detachedSignature(content, id, secret)
	}
	return signed
}

// detachedSignature is a JWS (RFC 7515) with HMAC-SHA256, without the content that it signs.
func detachedSignature(content, id, secret string) string {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Key       string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		panic(err) // strings
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil))
}

// signingToken is a token that is for signing, and good.
func signingToken(s *corev1.Secret, now time.Time) (id, secret string, signs bool) {
	id, secret = string(s.Data["token-id"]), string(s.Data["token-secret"])
	at, expires := tokenExpiry(s)
	signs = s.Type == bootstrapTokenType && isTokenID(id) && s.Name == bootstrapTokenPrefix+id && secret != "" &&
		(!expires || at.After(now)) && string(s.Data["usage-bootstrap-signing"]) == "true"
	return id, secret, signs
}

func isTokenID(id string) bool {
	return len(id) == 6 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// tokenExpiry is when a token expires; one whose time cannot be read has expired long ago.
func tokenExpiry(s *corev1.Secret) (time.Time, bool) {
	text := string(s.Data["expiration"])
	if text == "" {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, true
	}
	return at, true
}

// tokenCleaner promises that bootstrap tokens go when they expire.
type tokenCleaner struct{ secrets *Source }

func tokenCleanerLoop(c *Config) Loop {
	x := &tokenCleaner{c.Source(&corev1.Secret{})}
	return Loop{Watches: []Watch{{x.secrets, bootstrapTokenKeys}}, Reconcile: x.reconcile}
}

func (x *tokenCleaner) reconcile(ctx context.Context, t *Turn) error {
	s, there := x.secrets.cached(t.Key).(*corev1.Secret)
	if !there || s.Type != bootstrapTokenType {
		return nil
	}
	at, expires := tokenExpiry(s)
	switch rest := at.Sub(t.Now); {
	case !expires:
		return nil
	case rest > 0:
		t.Again(rest)
		return nil
	}
	return Delete(ctx, t, t.Client.CoreV1().Secrets(t.Namespace), s, metav1.DeleteOptions{})
}
