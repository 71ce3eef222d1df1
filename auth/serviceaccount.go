package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

// Issuer signs service account tokens: JWTs whose claims are upstream's, so that whoever verifies its tokens verifies
// these.
type Issuer struct {
	name      string
	audiences []string
	key       crypto.Signer
	keyID     string
	method    jwt.SigningMethod
}

// NewIssuer returns the issuer of that name. audiences are the API server's; none means the name alone.
func NewIssuer(name string, audiences []string, key crypto.Signer) (*Issuer, error) {
	i := &Issuer{name: name, audiences: audiences, key: key}
	if len(audiences) == 0 {
		i.audiences = []string{name}
	}
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		methods := map[int]jwt.SigningMethod{256: jwt.SigningMethodES256, 384: jwt.SigningMethodES384, 521: jwt.SigningMethodES512}
		i.method = methods[public.Params().BitSize]
	case *rsa.PublicKey:
		i.method = jwt.SigningMethodRS256
	}
	if i.method == nil {
		return nil, fmt.Errorf("service account tokens cannot be signed with a %T", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	i.keyID = base64.RawURLEncoding.EncodeToString(sum[:])
	return i, nil
}

// ReadSigningKey reads an RSA or ECDSA key, in PEM.
func ReadSigningKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, which signs nothing", path, key)
	}
	return signer, nil
}

// Audiences are the API server's own.
func (i *Issuer) Audiences() []string { return i.audiences }

// MaxSeconds is zero: tokens may live as long as is asked for.
func (i *Issuer) MaxSeconds() int64 { return 0 }

// accountClaims is what a token says beside the registered claims.
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
	return token.SignedString(i.key)
}

func (i *Issuer) claims(g registry.TokenGrant) accountClaims {
	issued := jwt.NewNumericDate(g.Issued)
	c := accountClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: i.name, Subject: "system:serviceaccount:" + g.Account.Namespace + ":" + g.Account.Name,
			Audience: g.Audiences, ID: uuid.NewString(), IssuedAt: issued, NotBefore: issued,
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
