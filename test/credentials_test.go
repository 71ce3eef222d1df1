package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/keyutil"

	"github.com/knarr-dev/knarr/test/cluster"
)

const unauthorized = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`

// forger knows the key of a cluster, so that what it makes is wrong in one thing only.
type forger struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	account *corev1.ServiceAccount
}

func newForger(t *testing.T, c *cluster.Cluster, account *corev1.ServiceAccount) *forger {
	t.Helper()
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(c.DataDir, "pki", "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	return &forger{t, key.(*ecdsa.PrivateKey), account}
}

func (f *forger) public() []byte {
	f.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		f.t.Fatal(err)
	}
	return der
}

// token is a good token but for the changes to its claims.
func (f *forger) token(changes jwt.MapClaims) string {
	return f.sign(jwt.SigningMethodES256, f.key, changes)
}

func (f *forger) sign(method jwt.SigningMethod, key any, changes jwt.MapClaims) string {
	f.t.Helper()
	const issuer = "https://kubernetes.default.svc.cluster.local"
	now := time.Now().Unix()
	claims := jwt.MapClaims{"iss": issuer, "aud": []string{issuer}, "iat": now, "nbf": now, "exp": now + 600,
		"sub": "system:serviceaccount:default:" + f.account.Name, "jti": "forged", "kubernetes.io": f.bound(string(f.account.UID))}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(method, claims)
	sum := sha256.Sum256(f.public())
	token.Header["kid"] = base64.RawURLEncoding.EncodeToString(sum[:])
	text, err := token.SignedString(key)
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

func (f *forger) bound(uid string) map[string]any {
	return map[string]any{"namespace": "default", "serviceaccount": map[string]string{"name": f.account.Name, "uid": uid}}
}

// TestForgedCredentials shows the server wrong tokens and certificates in every way. Each is refused in the same words,
// and none is to be found in the log, however much of it there is.
func TestForgedCredentials(t *testing.T) {
	c := cluster.Start(t, "apiserver", "-v=4", "--enable-bootstrap-token-auth")
	admin := clientset(t, c, "application/json")
	accounts := admin.CoreV1().ServiceAccounts("default")
	create := func(name string) *corev1.ServiceAccount {
		t.Helper()
		made, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	f := newForger(t, c, create("robot"))
	former := requestedToken(t, admin, create("former").Name)
	reborn := requestedToken(t, admin, create("reborn").Name)
	for _, name := range []string{"former", "reborn"} {
		if code, _ := knock(t, c, &tls.Config{}, map[string]string{"former": former, "reborn": reborn}[name]); code != http.StatusForbidden {
			t.Errorf("the token of %s before it was deleted: %d", name, code)
		}
		if err := accounts.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("reborn")

	good := f.token(nil)
	if code, body := knock(t, c, &tls.Config{}, good); code != http.StatusForbidden || !strings.Contains(body, "system:serviceaccount:default:robot") {
		t.Fatalf("a good token: %d %s", code, body)
	}
	now := time.Now().Unix()
	parts := strings.Split(good, ".")
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: f.public()})
	tokens := map[string]string{
		"expired":                      f.token(jwt.MapClaims{"exp": now - 100}),
		"not yet valid":                f.token(jwt.MapClaims{"nbf": now + 100}),
		"another issuer":               f.token(jwt.MapClaims{"iss": "https://evil"}),
		"another audience":             f.token(jwt.MapClaims{"aud": []string{"vault"}}),
		"not signed":                   f.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"a public key as a secret":     f.sign(jwt.SigningMethodHS256, pemKey, nil),
		"a public key's bytes, too":    f.sign(jwt.SigningMethodHS256, f.public(), nil),
		"signed by a stranger":         f.sign(jwt.SigningMethodES256, stranger, nil),
		"truncated":                    good[:len(good)-7],
		"the signature of another":     parts[0] + "." + strings.Split(f.token(jwt.MapClaims{"sub": "system:serviceaccount:default:boss"}), ".")[1] + "." + parts[2],
		"an account that is gone":      former,
		"an account made anew":         reborn,
		"a uid that nobody has":        f.token(jwt.MapClaims{"kubernetes.io": f.bound("none")}),
		"a Secret that was never made": f.token(jwt.MapClaims{"iss": "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/secret.name": "x"}),
		"a bootstrap token":            "abcdef.0123456789abcdef",
		"no token at all":              "secret-that-nobody-knows",
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			code, body := knock(t, c, &tls.Config{}, token)
			if code != http.StatusUnauthorized || strings.TrimSpace(body) != unauthorized {
				t.Errorf("answered %d %s", code, body)
			}
			for _, part := range strings.Split(token, ".") {
				if len(part) > 12 && strings.Contains(c.Log(), part) && !strings.HasPrefix(parts[0], part) {
					t.Error("the log shows the token")
				}
			}
		})
	}
	for name, certificate := range wrongCertificates(t, c) {
		t.Run("certificate/"+name, func(t *testing.T) {
			code, body := knock(t, c, &tls.Config{Certificates: []tls.Certificate{certificate}}, "")
			if code != http.StatusUnauthorized || strings.TrimSpace(body) != unauthorized {
				t.Errorf("answered %d %s", code, body)
			}
		})
	}
}

func requestedToken(t *testing.T, admin kubernetes.Interface, account string) string {
	t.Helper()
	request, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// knock asks for the pods of a namespace, with a token if there is one.
func knock(t *testing.T, c *cluster.Cluster, own *tls.Config, token string) (code int, body string) {
	t.Helper()
	client := c.Client()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig.Certificates = own.Certificates
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/api/v1/namespaces/default/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(all)
}

// wrongCertificates all claim to be a member of system:masters.
func wrongCertificates(t *testing.T, c *cluster.Cluster) map[string]tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.DataDir, "pki", "ca.crt"), filepath.Join(c.DataDir, "pki", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	issue := func(usage x509.ExtKeyUsage, from, until time.Duration, by tls.Certificate) tls.Certificate {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "eve", Organization: []string{"system:masters"}},
			NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
		parent, signer := template, any(key)
		if by.Leaf != nil {
			parent, signer = by.Leaf, by.PrivateKey
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return map[string]tls.Certificate{
		"of nobody's authority":      issue(x509.ExtKeyUsageClientAuth, -time.Hour, time.Hour, tls.Certificate{}),
		"expired":                    issue(x509.ExtKeyUsageClientAuth, -2*time.Hour, -time.Hour, ca),
		"not yet valid":              issue(x509.ExtKeyUsageClientAuth, time.Hour, 2*time.Hour, ca),
		"for servers, not clients":   issue(x509.ExtKeyUsageServerAuth, -time.Hour, time.Hour, ca),
		"of the front proxy's users": frontProxyClient(t, c),
	}
}

// frontProxyClient is a certificate of another authority of the same cluster.
func frontProxyClient(t *testing.T, c *cluster.Cluster) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.DataDir, "pki", "front-proxy-client.crt"), filepath.Join(c.DataDir, "pki", "front-proxy-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestTokensOfSecrets takes a bootstrap token and a token of a Secret through their lives.
func TestTokensOfSecrets(t *testing.T) {
	c := cluster.Start(t, "apiserver", "--enable-bootstrap-token-auth")
	admin := clientset(t, c, "application/json")
	account, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "kubernetes.io/serviceaccount/"
	legacy := newForger(t, c, account).token(jwt.MapClaims{"iss": "kubernetes/serviceaccount", "aud": nil, prefix + "namespace": "default",
		prefix + "service-account.name": "robot", prefix + "service-account.uid": string(account.UID), prefix + "secret.name": "robot-token"})
	for _, test := range []struct {
		name, token, user string
		secret            *corev1.Secret
	}{
		{"bootstrap", "abcdef.0123456789abcdef", "system:bootstrap:abcdef", &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token",
			StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}}},
		{"service account", legacy, "system:serviceaccount:default:robot", &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
			Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": legacy}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			secrets := admin.CoreV1().Secrets(test.secret.Namespace)
			expect := func(when string, want int) {
				t.Helper()
				code, body := knock(t, c, &tls.Config{}, test.token)
				if code != want || code == http.StatusForbidden && !strings.Contains(body, test.user) {
					t.Errorf("%s: %d %s", when, code, body)
				}
			}
			expect("before", http.StatusUnauthorized)
			if _, err := secrets.Create(t.Context(), test.secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			expect("as long as it is there", http.StatusForbidden)
			expect("again", http.StatusForbidden)
			kept, err := secrets.Get(t.Context(), test.secret.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var labels map[string]string
			if test.name == "service account" {
				labels = map[string]string{"kubernetes.io/legacy-token-last-used": time.Now().UTC().Format(time.DateOnly)}
			}
			if d := cmp.Diff(labels, kept.Labels); d != "" {
				t.Error(d)
			}
			if err := secrets.Delete(t.Context(), test.secret.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			expect("after", http.StatusUnauthorized)
		})
	}
}
