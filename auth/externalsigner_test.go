package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
	externaljwtv1 "k8s.io/externaljwt/apis/v1"

	"github.com/knarr-dev/knarr/registry"
	corev1 "k8s.io/api/core/v1"
)

// vault is a signer elsewhere.
type vault struct {
	externaljwtv1.UnimplementedExternalJWTSignerServer
	mu      sync.Mutex // guards the fields below
	key     *ecdsa.PrivateKey
	header  string
	keys    []*externaljwtv1.Key
	fetched int
}

func (v *vault) Sign(_ context.Context, r *externaljwtv1.SignJWTRequest) (*externaljwtv1.SignJWTResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	header := base64.RawURLEncoding.EncodeToString([]byte(v.header))
	signature, err := jwt.SigningMethodES256.Sign(header+"."+r.Claims, v.key)
	return &externaljwtv1.SignJWTResponse{Header: header, Signature: base64.RawURLEncoding.EncodeToString(signature)}, err
}

func (v *vault) FetchKeys(context.Context, *externaljwtv1.FetchKeysRequest) (*externaljwtv1.FetchKeysResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetched++
	return &externaljwtv1.FetchKeysResponse{Keys: v.keys, RefreshHintSeconds: 600, DataTimestamp: timestamppb.Now()}, nil
}

func (v *vault) Metadata(context.Context, *externaljwtv1.MetadataRequest) (*externaljwtv1.MetadataResponse, error) {
	return &externaljwtv1.MetadataResponse{MaxTokenExpirationSeconds: 7200}, nil
}

// rotate signs with another key from now on, and says so of the given ones.
func (v *vault) rotate(t *testing.T, id string, keys ...*externaljwtv1.Key) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = ecKey(t, elliptic.P256())
	der, err := x509.MarshalPKIXPublicKey(&v.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v.header = `{"alg":"ES256","kid":"` + id + `","typ":"JWT"}`
	v.keys = append(keys, &externaljwtv1.Key{KeyId: id, Key: der})
}

func startVault(t *testing.T, v *vault) *ExternalSigner {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externaljwtv1.RegisterExternalJWTSignerServer(server, v)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	s, err := DialSigner(t.Context(), socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignerElsewhereRotatesItsKeys(t *testing.T) {
	v := &vault{}
	v.rotate(t, "first")
	s := startVault(t, v)
	if s.MaxLife != 2*time.Hour {
		t.Errorf("tokens live for %v", s.MaxLife)
	}
	m := newMint(t, crypto.Signer(v.key))
	m.tokens.config.Keys = s
	issuer := NewIssuer(IssuerConfig{Name: testIssuer, Audiences: []string{testAudience}, Signer: s})
	issue := func() string {
		t.Helper()
		token, err := issuer.Issue(t.Context(), registry.TokenGrant{ID: "j", Account: m.shelf["serviceaccounts/ns/robot"].(*corev1.ServiceAccount),
			Audiences: issuer.Audiences(), Issued: m.now, Seconds: 600})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := func(token string) {
		t.Helper()
		if user, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil); user == nil {
			t.Fatalf("a good token is refused: %v", err)
		}
	}
	former := issue()
	good(former)
	v.rotate(t, "second", v.keys...)
	good(issue()) // its key is searched for
	good(former)
	fetched := v.fetched
	m.refuses(t, m.sign(jwt.SigningMethodES256, v.key, jwt.MapClaims{"kid": "made-up"}, m.claims(nil)), errNoKey.Error())
	if v.fetched != fetched {
		t.Error("keys that are made up are searched for without a pause")
	}
	v.rotate(t, "third")
	if err := s.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.refuses(t, former, errNoKey.Error())
	good(issue())
	before := s.Keys()
	if err := s.fetch(t.Context()); err != nil || !before.same(s.Keys()) {
		t.Errorf("the same keys are others: %v", err)
	}
}

func TestSignerElsewhereIsCheckedWhereTokensAreMade(t *testing.T) {
	v := &vault{}
	v.rotate(t, "a", &externaljwtv1.Key{KeyId: "old", ExcludeFromOidcDiscovery: true})
	v.keys[0].Key = v.keys[1].Key
	s := startVault(t, v)
	for header, reason := range map[string]string{
		`{"alg":"ES256","kid":"a","typ":"JWT"}`:           "",
		`{"alg":"ES256","kid":"a"}`:                       "bad type",
		`{"alg":"ES256","typ":"JWT"}`:                     "key id missing",
		`{"alg":"HS256","kid":"a","typ":"JWT"}`:           `bad signing algorithm "HS256"`,
		`{"alg":"ES256","kid":"a","typ":"JWT","crit":[]}`: "unknown field",
		`{"alg":"ES256","kid":"old","typ":"JWT"}`:         "excluded from OIDC discovery",
	} {
		v.header = header
		_, err := s.Sign(t.Context(), []byte(`{}`))
		if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", header, err)
		}
	}
	openID, err := NewOpenID(testIssuer, "https://keys", "", s)
	if err != nil {
		t.Fatal(err)
	}
	documents, age, err := openID.Documents(time.Now())
	if err != nil || age < 500 || age > 600 || strings.Contains(string(documents.Keys), "old") {
		t.Errorf("%s for %d s, %v", documents.Keys, age, err)
	}
}
