package auth

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/knarr-dev/knarr/registry"
)

// Issuer signs service account tokens: JWTs whose claims are upstream's, so that whoever verifies its tokens verifies
// these.
type Issuer struct{ config IssuerConfig }

// IssuerConfig is what an issuer of tokens is told.
type IssuerConfig struct {
	Name      string
	Audiences []string // the API server's; none means the name alone
	Signer    TokenSigner
	MaxLife   time.Duration // bounds the life of tokens; zero bounds nothing
	// Extended is how long tokens that are mounted into pods live, for clients that read them once; zero for no longer
	// than was asked for.
	Extended time.Duration
}

// TokenSigner makes a token of its claims, which are JSON.
type TokenSigner interface {
	Sign(ctx context.Context, claims []byte) (string, error)
}

// NewIssuer returns an issuer whose tokens the signer signs.
func NewIssuer(config IssuerConfig) *Issuer {
	if len(config.Audiences) == 0 {
		config.Audiences = []string{config.Name}
	}
	return &Issuer{config}
}

// keySigner signs with a key of this process.
type keySigner struct {
	key    crypto.Signer
	method jwt.SigningMethod
	header string // encoded
}

// SignWith signs with an RSA key or an ECDSA key on one of NIST's curves.
func SignWith(key crypto.Signer) (TokenSigner, error) {
	keys, err := NewVerificationKeys(key.Public())
	if err != nil {
		return nil, fmt.Errorf("service account tokens cannot be signed with a %T", key)
	}
	algorithm := keys[0].algorithms[0]
	header, err := json.Marshal(map[string]string{"alg": algorithm, "kid": keys[0].id})
	return keySigner{key, jwt.GetSigningMethod(algorithm), base64.RawURLEncoding.EncodeToString(header)}, err
}

// Sign makes a token.
func (k keySigner) Sign(_ context.Context, claims []byte) (string, error) {
	text := k.header + "." + base64.RawURLEncoding.EncodeToString(claims)
	signature, err := k.method.Sign(text, k.key)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// ReadSigningKey reads an RSA or ECDSA key, in PEM.
func ReadSigningKey(path string) (crypto.Signer, error) {
	key, err := keyutil.PrivateKeyFromFile(path)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, which signs nothing", path, key)
	}
	return signer, nil
}

// Audiences are the API server's own.
func (i *Issuer) Audiences() []string { return i.config.Audiences }

// MaxSeconds bounds the life of tokens; zero bounds nothing.
func (i *Issuer) MaxSeconds() int64 { return int64(i.config.MaxLife / time.Second) }

// ExtendedSeconds is how long tokens that are mounted into pods live; zero for no longer than was asked for.
func (i *Issuer) ExtendedSeconds() int64 { return int64(i.config.Extended / time.Second) }

// accountClaims are a token's claims.
type accountClaims struct {
	jwt.RegisteredClaims
	Kubernetes boundClaims `json:"kubernetes.io"`
}

type boundClaims struct {
	Namespace string           `json:"namespace,omitempty"`
	Node      *reference       `json:"node,omitempty"`
	Pod       *reference       `json:"pod,omitempty"`
	Secret    *reference       `json:"secret,omitempty"`
	Account   reference        `json:"serviceaccount"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

func referTo(o metav1.Object) *reference {
	return &reference{Name: o.GetName(), UID: string(o.GetUID())}
}

// Issue signs a token.
func (i *Issuer) Issue(ctx context.Context, g registry.TokenGrant) (string, error) {
	claims, err := json.Marshal(i.claims(g))
	if err != nil {
		return "", err
	}
	return i.config.Signer.Sign(ctx, claims)
}

func (i *Issuer) claims(g registry.TokenGrant) accountClaims {
	issued := jwt.NewNumericDate(g.Issued)
	c := accountClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: i.config.Name, Subject: accountUserName(g.Account.Namespace, g.Account.Name),
			Audience: g.Audiences, ID: g.ID, IssuedAt: issued, NotBefore: issued,
			ExpiresAt: jwt.NewNumericDate(g.Issued.Add(time.Duration(g.Seconds) * time.Second)),
		},
		Kubernetes: boundClaims{Namespace: g.Account.Namespace, Account: *referTo(g.Account)},
	}
	if g.Pod != nil {
		c.Kubernetes.Pod = referTo(g.Pod)
	}
	if g.Secret != nil {
		c.Kubernetes.Secret = referTo(g.Secret)
	}
	if g.Node != nil {
		c.Kubernetes.Node = referTo(g.Node)
	}
	if g.WarnAfter > 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(g.Issued.Add(time.Duration(g.WarnAfter) * time.Second))
	}
	return c
}
