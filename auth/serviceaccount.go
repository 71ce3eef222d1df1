package auth

import (
	"context"
	"crypto"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/knarr-dev/knarr/registry"
)

// Issuer signs service account tokens: JWTs whose claims are upstream's, so that whoever verifies its tokens verifies
// these.
type Issuer struct {
	config IssuerConfig
	keyID  string
	method jwt.SigningMethod
}

// IssuerConfig is what an issuer of tokens is told.
type IssuerConfig struct {
	Name      string
	Audiences []string // the API server's; none means the name alone
	Key       crypto.Signer
	MaxLife   time.Duration // bounds the life of tokens; zero bounds nothing
	// Extend gives tokens that are mounted into pods a year to live, for clients that read them once.
	Extend bool
}

// NewIssuer returns an issuer that signs with an RSA key or an ECDSA key on one of NIST's curves.
func NewIssuer(config IssuerConfig) (*Issuer, error) {
	if len(config.Audiences) == 0 {
		config.Audiences = []string{config.Name}
	}
	keys, err := NewVerificationKeys(config.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("service account tokens cannot be signed with a %T", config.Key)
	}
	return &Issuer{config: config, keyID: keys[0].id, method: jwt.GetSigningMethod(keys[0].algorithms[0])}, nil
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

// Extends says whether tokens that are mounted into pods outlive what was asked for.
func (i *Issuer) Extends() bool { return i.config.Extend }

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
func (i *Issuer) Issue(_ context.Context, g registry.TokenGrant) (string, error) {
	token := jwt.NewWithClaims(i.method, i.claims(g))
	token.Header["kid"] = i.keyID
	delete(token.Header, "typ") // as upstream's signer, which leaves it out
	return token.SignedString(i.config.Key)
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
