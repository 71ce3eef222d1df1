package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/knarr-dev/knarr/registry"
)

// shelf is a cluster's objects by plural/namespace/name.
type shelf map[string]registry.Object

func (s shelf) Get(_ context.Context, group, plural, namespace, name string) (registry.Object, error) {
	if o := s[plural+"/"+namespace+"/"+name]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: plural}, name)
}

func (s shelf) Labels(ctx context.Context, group, plural, namespace, name string) (labels.Labels, error) {
	o, err := s.Get(ctx, group, plural, namespace, name)
	if err != nil {
		return nil, err
	}
	return labels.Set(o.GetLabels()), nil
}

func (s shelf) Identity(ctx context.Context, group, plural, namespace, name string) (registry.Identity, error) {
	o, err := s.Get(ctx, group, plural, namespace, name)
	if err != nil {
		return registry.Identity{}, err
	}
	i := registry.Identity{UID: o.GetUID()}
	if at := o.GetDeletionTimestamp(); at != nil {
		i.Deleted = at.Time
	}
	return i, nil
}

func (s shelf) List(context.Context, string, string, string) ([]registry.Object, error) {
	return nil, nil
}

func (s shelf) Follow(context.Context, string, string, func(old, now registry.Object)) error {
	return nil
}

func metaOf(namespace, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}
}

func accountShelf() shelf {
	return shelf{
		"serviceaccounts/ns/robot": &corev1.ServiceAccount{ObjectMeta: metaOf("ns", "robot", "u-robot")},
		"pods/ns/p":                &corev1.Pod{ObjectMeta: metaOf("ns", "p", "u-pod")},
		"secrets/ns/s":             &corev1.Secret{ObjectMeta: metaOf("ns", "s", "u-secret")},
		"nodes//n":                 &corev1.Node{ObjectMeta: metaOf("", "n", "u-node")},
	}
}

// mint is an issuer with one key, and an authenticator of its tokens. Its clock stands still until it is set.
type mint struct {
	t      testing.TB
	key    crypto.Signer
	now    time.Time
	shelf  shelf
	noted  []string // days of use
	tokens *AccountTokens
}

const (
	testIssuer   = "https://issuer"
	testAudience = "https://api"
)

func newMint(t testing.TB, key crypto.Signer, more ...any) *mint {
	t.Helper()
	keys, err := NewVerificationKeys(append([]any{key.Public()}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	m := &mint{t: t, key: key, now: time.Unix(1_700_000_000, 0), shelf: accountShelf()}
	m.tokens = NewAccountTokens(AccountTokensConfig{
		Issuers: []string{testIssuer, "https://former"}, Audiences: []string{testAudience}, Keys: FixedKeys(keys), Objects: m.shelf, Identities: m.shelf, Lookup: true,
		NoteUse: func(_ context.Context, _ *corev1.Secret, day string) { m.noted = append(m.noted, day) },
		Now:     func() time.Time { return m.now },
	})
	return m
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// claims are those of a good token, but for the changes; nil takes a claim away.
func (m *mint) claims(changes jwt.MapClaims) jwt.MapClaims {
	now := m.now.Unix()
	c := jwt.MapClaims{"iss": testIssuer, "aud": []string{testAudience}, "sub": "system:serviceaccount:ns:robot",
		"exp": now + 3600, "nbf": now, "iat": now, "jti": "j", "kubernetes.io": bound(nil)}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// bound is the private claim of a token of ns/robot that is bound to more.
func bound(more map[string]any) map[string]any {
	c := map[string]any{"namespace": "ns", "serviceaccount": ref("robot", "u-robot")}
	maps.Copy(c, more)
	return c
}

func ref(name, uid string) map[string]string { return map[string]string{"name": name, "uid": uid} }

func (m *mint) legacyClaims(changes jwt.MapClaims) jwt.MapClaims {
	const prefix = "kubernetes.io/serviceaccount/"
	c := jwt.MapClaims{"iss": legacyIssuer, "sub": "system:serviceaccount:ns:robot", prefix + "namespace": "ns",
		prefix + "service-account.name": "robot", prefix + "service-account.uid": "u-robot", prefix + "secret.name": "legacy"}
	maps.Copy(c, changes)
	return c
}

// sign makes a token; header overrides what a good header says.
func (m *mint) sign(method jwt.SigningMethod, key any, header, claims jwt.MapClaims) string {
	m.t.Helper()
	token := jwt.NewWithClaims(method, claims)
	id, err := keyID(m.key.Public())
	if err != nil {
		m.t.Fatal(err)
	}
	token.Header["kid"] = id
	maps.Copy(token.Header, header)
	maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
	text, err := token.SignedString(key)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

func (m *mint) good(claims jwt.MapClaims) string {
	return m.sign(jwt.GetSigningMethod(algorithmsOf(m.key.Public())[0]), m.key, nil, claims)
}

// refuses wants a token to be nobody's, for the reason; none means that it is not ours to judge.
func (m *mint) refuses(t *testing.T, token, reason string) {
	t.Helper()
	for range 2 { // the second time from memory, where there is one
		user, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if user != nil || said != reason {
			t.Fatalf("it is %v, %q; want nobody, %q", user, said, reason)
		}
		if len(token) > 30 && strings.Contains(said, token[len(token)-20:]) {
			t.Error("the reason shows the token")
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	key := rsaKey(t)
	m := newMint(t, key)
	claims := m.claims(nil)
	good := m.good(claims)
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	swapped := strings.Split(m.good(m.claims(jwt.MapClaims{"sub": "system:serviceaccount:ns:boss"})), ".")
	bad, none := errBadSignature.Error(), jwt.UnsafeAllowNoneSignatureType
	for name, c := range map[string]struct{ token, reason string }{
		"not signed":                         {m.sign(jwt.SigningMethodNone, none, nil, claims), bad},
		"a public key as a shared secret":    {m.sign(jwt.SigningMethodHS256, public, nil, claims), bad},
		"the same without a key id":          {m.sign(jwt.SigningMethodHS256, public, jwt.MapClaims{"kid": nil}, claims), bad},
		"a public key's bytes as a secret":   {m.sign(jwt.SigningMethodHS512, der, nil, claims), bad},
		"a key of another":                   {m.sign(jwt.SigningMethodRS256, rsaKey(t), nil, claims), bad},
		"another kind of key":                {m.sign(jwt.SigningMethodES256, ecKey(t, elliptic.P256()), nil, claims), bad},
		"a key id that is not known":         {m.sign(jwt.SigningMethodRS256, key, jwt.MapClaims{"kid": "x"}, claims), errNoKey.Error()},
		"a key id that is no text":           {m.sign(jwt.SigningMethodRS256, key, jwt.MapClaims{"kid": 7}, claims), ""},
		"demands that are not met":           {m.sign(jwt.SigningMethodRS256, key, jwt.MapClaims{"crit": []string{"b64"}, "b64": false}, claims), ""},
		"an algorithm that nobody knows":     {m.sign(jwt.SigningMethodRS256, key, jwt.MapClaims{"alg": "XX"}, claims), bad},
		"no algorithm":                       {m.sign(jwt.SigningMethodRS256, key, jwt.MapClaims{"alg": nil}, claims), bad},
		"truncated":                          {good[:len(good)-10], bad},
		"a signature that is missing":        {parts[0] + "." + parts[1] + ".", bad},
		"the signature of other claims":      {parts[0] + "." + swapped[1] + "." + parts[2], bad},
		"two parts":                          {parts[0] + "." + parts[1], ""},
		"four parts":                         {good + ".x", ""},
		"cut in its claims":                  {parts[0] + "." + parts[1][:20] + "." + parts[2], ""},
		"no base64":                          {"a.b!.c", ""},
		"another issuer":                     {m.good(m.claims(jwt.MapClaims{"iss": "https://evil"})), ""},
		"an issuer that is no text":          {m.good(m.claims(jwt.MapClaims{"iss": 5})), ""},
		"a time that is none":                {m.good(m.claims(jwt.MapClaims{"exp": "never"})), "the claims of the service account token cannot be read"},
		"a token of a Secret without a name": {m.good(m.legacyClaims(jwt.MapClaims{"sub": ""})), "sub claim is missing"},
		"a token of a Secret for another":    {m.good(m.legacyClaims(jwt.MapClaims{"sub": "system:serviceaccount:ns:boss"})), "sub claim is invalid"},
	} {
		t.Run(name, func(t *testing.T) { m.refuses(t, c.token, c.reason) })
	}
}

func TestTokensCountForTheirTimeAndAudience(t *testing.T) {
	m := newMint(t, ecKey(t, elliptic.P256()))
	at := func(seconds int64) int64 { return m.now.Unix() + seconds }
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		wanted []string
		fit    []string
		reason string
	}{
		"a token is for the API":                    {fit: []string{testAudience}},
		"one of its audiences will do":              {claims: jwt.MapClaims{"aud": []string{"vault", testAudience}}, fit: []string{testAudience}},
		"an audience may stand alone":               {claims: jwt.MapClaims{"aud": testAudience}, fit: []string{testAudience}},
		"another audience has to be asked for":      {claims: jwt.MapClaims{"aud": []string{"vault"}}, wanted: []string{"x", "vault"}, fit: []string{"vault"}},
		"another audience is refused":               {claims: jwt.MapClaims{"aud": []string{"vault"}}, reason: `token audiences ["vault"] is invalid for the target audiences ["https://api"]`},
		"a former issuer's tokens are good":         {claims: jwt.MapClaims{"iss": "https://former"}, fit: []string{testAudience}},
		"a clock may be a minute ahead":             {claims: jwt.MapClaims{"nbf": at(60), "iat": at(60)}, fit: []string{testAudience}},
		"a clock may be a minute behind":            {claims: jwt.MapClaims{"exp": at(-60)}, fit: []string{testAudience}},
		"an expired token is refused":               {claims: jwt.MapClaims{"exp": at(-61)}, reason: "service account token has expired"},
		"a token of tomorrow is refused":            {claims: jwt.MapClaims{"nbf": at(61)}, reason: "service account token is not valid yet"},
		"a token that was issued later is refused":  {claims: jwt.MapClaims{"iat": at(61)}, reason: "service account token is issued in the future"},
		"a Secret's token is for the API alone":     {claims: m.legacyClaims(jwt.MapClaims{"aud": nil, "exp": nil}), wanted: []string{"vault"}, reason: `token audiences ["https://api"] is invalid for the target audiences ["vault"]`},
		"no account is refused in the API's words":  {claims: jwt.MapClaims{"kubernetes.io": nil}, reason: "resource name may not be empty"},
		"a null audience does not pass for its own": {claims: jwt.MapClaims{"aud": []string(nil)}, reason: "the claims of the service account token cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			user, fit, err := m.tokens.AuthenticateToken(t.Context(), m.good(m.claims(c.claims)), c.wanted)
			if c.reason != "" {
				if user != nil || err == nil || err.Error() != c.reason {
					t.Fatalf("it is %v, %v", user, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.fit, fit); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTokenDiesWithWhatItIsBoundTo(t *testing.T) {
	const gone = "service account token has been invalidated"
	pod, secret, node := ref("p", "u-pod"), ref("s", "u-secret"), ref("n", "u-node")
	deleted := func(key string, ago time.Duration) func(*mint) {
		return func(m *mint) {
			o := m.shelf[key].DeepCopyObject().(registry.Object)
			at := metav1.NewTime(m.now.Add(-ago))
			o.SetDeletionTimestamp(&at)
			m.shelf[key] = o
		}
	}
	removed := func(key string) func(*mint) { return func(m *mint) { delete(m.shelf, key) } }
	anew := func(key string) func(*mint) {
		return func(m *mint) {
			o := m.shelf[key].DeepCopyObject().(registry.Object)
			o.SetUID("new")
			m.shelf[key] = o
		}
	}
	const account = "serviceaccounts/ns/robot"
	for name, c := range map[string]struct {
		binding map[string]any
		event   func(*mint)
		reason  string
	}{
		"an account that is gone":                   {nil, removed(account), `serviceaccounts "robot" not found`},
		"an account made anew under its name":       {nil, anew(account), "service account UID (new) does not match claim (u-robot)"},
		"an account may shut down":                  {nil, deleted(account, time.Minute), ""},
		"an account deleted for long":               {nil, deleted(account, 61*time.Second), "service account ns/robot has been deleted"},
		"a pod that is gone":                        {map[string]any{"pod": pod}, removed("pods/ns/p"), gone},
		"a pod made anew":                           {map[string]any{"pod": pod}, anew("pods/ns/p"), "pod UID (new) does not match service account pod ref claim (u-pod)"},
		"a pod may shut down":                       {map[string]any{"pod": pod}, deleted("pods/ns/p", time.Minute), ""},
		"a pod deleted for long":                    {map[string]any{"pod": pod}, deleted("pods/ns/p", 61*time.Second), gone},
		"a secret that is gone":                     {map[string]any{"secret": secret}, removed("secrets/ns/s"), gone},
		"a secret made anew":                        {map[string]any{"secret": secret}, anew("secrets/ns/s"), "secret UID (new) does not match service account secret ref claim (u-secret)"},
		"a node that is gone":                       {map[string]any{"node": node}, removed("nodes//n"), gone},
		"a node made anew":                          {map[string]any{"node": node}, anew("nodes//n"), "node UID (new) does not match service account node ref claim (u-node)"},
		"a pod's node does not count, only its pod": {map[string]any{"pod": pod, "node": node}, removed("nodes//n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMint(t, ecKey(t, elliptic.P256()))
			token := m.good(m.claims(jwt.MapClaims{"kubernetes.io": bound(c.binding)}))
			if _, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.event(m)
			if c.reason != "" {
				m.refuses(t, token, c.reason)
				return
			}
			if _, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil); err != nil {
				t.Errorf("after: %v", err)
			}
		})
	}
}

func TestTokenNamesItsAccountPodNodeAndCredential(t *testing.T) {
	m := newMint(t, ecKey(t, elliptic.P384()))
	signer, err := SignWith(m.key)
	if err != nil {
		t.Fatal(err)
	}
	issuer := NewIssuer(IssuerConfig{Name: testIssuer, Audiences: []string{testAudience}, Signer: signer})
	account := m.shelf["serviceaccounts/ns/robot"].(*corev1.ServiceAccount)
	for name, c := range map[string]struct {
		grant registry.TokenGrant
		extra map[string][]string
	}{
		"alone": {registry.TokenGrant{ID: "j"}, map[string][]string{credentialIDKey: {"JTI=j"}}},
		"bound to a pod on a node": {
			registry.TokenGrant{ID: "j", Pod: m.shelf["pods/ns/p"].(*corev1.Pod), Node: m.shelf["nodes//n"].(*corev1.Node)},
			map[string][]string{credentialIDKey: {"JTI=j"}, "authentication.kubernetes.io/pod-name": {"p"}, "authentication.kubernetes.io/pod-uid": {"u-pod"},
				"authentication.kubernetes.io/node-name": {"n"}, "authentication.kubernetes.io/node-uid": {"u-node"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.grant.Account, c.grant.Audiences, c.grant.Issued, c.grant.Seconds = account, issuer.Audiences(), m.now, 600
			token, err := issuer.Issue(t.Context(), c.grant)
			if err != nil {
				t.Fatal(err)
			}
			user, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := &registry.User{Name: "system:serviceaccount:ns:robot", UID: "u-robot",
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns"}, Extra: c.extra}
			if d := cmp.Diff(want, user); d != "" {
				t.Error(d)
			}
		})
	}
}

// said keeps remarks.
type said struct {
	warnings []string
	notes    map[string]string
}

func (s *said) Warn(text string)           { s.warnings = append(s.warnings, text) }
func (s *said) Annotate(key, value string) { s.notes[key] = value }

func TestTokenOfSecretIsAsGoodAsItsSecret(t *testing.T) {
	m := newMint(t, ecKey(t, elliptic.P256()))
	token := m.good(m.legacyClaims(nil))
	secret := &corev1.Secret{ObjectMeta: metaOf("ns", "legacy", "u"), Data: map[string][]byte{"token": []byte(token)}}
	keep := func(change func(*corev1.Secret)) {
		s := secret.DeepCopy()
		change(s)
		m.shelf["secrets/ns/legacy"] = s
	}
	m.refuses(t, token, "Token has been invalidated")
	keep(func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: m.now} })
	m.refuses(t, token, "Token has been invalidated")
	keep(func(s *corev1.Secret) { s.Data["token"] = []byte(m.good(m.legacyClaims(nil))) })
	m.refuses(t, token, "Token does not match server's copy")
	if m.noted != nil {
		t.Errorf("the use of tokens that are not good is noted: %v", m.noted)
	}

	keep(func(*corev1.Secret) {})
	heard := &said{notes: map[string]string{}}
	user, _, err := m.tokens.AuthenticateToken(WithRemarks(t.Context(), heard), token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user.Name != "system:serviceaccount:ns:robot" || user.UID != "u-robot" || user.Extra != nil {
		t.Errorf("it is %v", user)
	}
	if d := cmp.Diff([]string{"2023-11-14"}, m.noted); d != "" {
		t.Error(d)
	}
	notes := map[string]string{"authentication.k8s.io/legacy-token": user.Name, "authentication.k8s.io/legacy-token-manual-secret": "legacy"}
	if d := cmp.Diff(notes, heard.notes); d != "" || heard.warnings != nil {
		t.Errorf("%s, warnings %v", d, heard.warnings)
	}

	keep(func(s *corev1.Secret) { s.Labels = map[string]string{lastUsedLabel: "2023-11-15"} })
	account := m.shelf["serviceaccounts/ns/robot"].DeepCopyObject().(*corev1.ServiceAccount)
	account.Secrets = []corev1.ObjectReference{{Name: "legacy"}}
	m.shelf["serviceaccounts/ns/robot"] = account
	if _, _, err := m.tokens.AuthenticateToken(WithRemarks(t.Context(), heard), token, nil); err != nil || len(heard.warnings) != 1 || len(m.noted) != 1 {
		t.Errorf("an unasked token of today: %v, %v, %v", err, heard.warnings, m.noted)
	}
	keep(func(s *corev1.Secret) { s.Labels = map[string]string{invalidSinceLabel: "2023-01-01"} })
	if _, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil); err == nil || !strings.Contains(err.Error(), "has been marked invalid") || len(m.noted) != 2 {
		t.Errorf("a token that was put out of use: %v, %v", err, m.noted)
	}
	m.shelf["serviceaccounts/ns/robot"] = &corev1.ServiceAccount{ObjectMeta: metaOf("ns", "robot", "new")}
	keep(func(*corev1.Secret) {})
	m.refuses(t, token, "ServiceAccount UID (new) does not match claim (u-robot)")
}

func TestStaleTokensAreNoted(t *testing.T) {
	m := newMint(t, ecKey(t, elliptic.P256()))
	token := m.good(m.claims(jwt.MapClaims{"kubernetes.io": bound(map[string]any{"warnafter": m.now.Unix() + 10})}))
	heard := &said{notes: map[string]string{}}
	for range 2 {
		if _, _, err := m.tokens.AuthenticateToken(WithRemarks(t.Context(), heard), token, nil); err != nil {
			t.Fatal(err)
		}
		m.now = m.now.Add(13 * time.Second)
	}
	want := map[string]string{"authentication.k8s.io/stale-token": "subject: system:serviceaccount:ns:robot, seconds after warning threshold: 3"}
	if d := cmp.Diff(want, heard.notes); d != "" {
		t.Error(d)
	}
	if uses := m.tokens.Uses(); uses.Valid.Load() != 1 || uses.Stale.Load() != 1 {
		t.Errorf("counted %d valid and %d stale uses", uses.Valid.Load(), uses.Stale.Load())
	}
}

func TestTokensOfEveryVerificationKeyAreGood(t *testing.T) {
	dir := t.TempDir()
	former, private := ecKey(t, elliptic.P521()), rsaKey(t)
	several := pemOf(encodePublicKey(&ecKey(t, elliptic.P256()).PublicKey), encodePublicKey(&former.PublicKey))
	alone := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
	for file, data := range map[string][]byte{"several.pub": several, "private.key": alone, "none": []byte("nothing")} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := ReadVerificationKeys([]string{filepath.Join(dir, "several.pub"), filepath.Join(dir, "private.key")})
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	var publics []any
	for _, k := range keys {
		publics = append(publics, k.public)
	}
	for _, signer := range []crypto.Signer{former, private} {
		m := newMint(t, signer, publics...)
		for _, header := range []jwt.MapClaims{nil, {"kid": nil}} {
			token := m.sign(jwt.GetSigningMethod(algorithmsOf(signer.Public())[0]), signer, header, m.claims(nil))
			if user, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil); user == nil {
				t.Errorf("a token of a %T, header %v: %v", signer, header, err)
			}
		}
	}
	if _, err := ReadVerificationKeys([]string{filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file without keys: %v", err)
	}
}

func pemOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// FuzzAccountTokens has anything read as a token: nobody is somebody without a good signature.
func FuzzAccountTokens(f *testing.F) {
	m := newMint(f, ecKey(f, elliptic.P256()))
	good := m.good(m.claims(nil))
	parts := strings.Split(good, ".")
	f.Add(parts[0], parts[1], "")
	f.Add(parts[0], "e30", parts[2])
	f.Add("e30", parts[1], parts[2])
	f.Add("eyJhbGciOiJub25lIn0", parts[1], "")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6e319", parts[1], "AA")
	f.Add("bnVsbA", "bnVsbA", "bnVsbA")
	f.Add(parts[0], parts[1], parts[2]+"\n")
	f.Fuzz(func(t *testing.T, header, claims, signature string) {
		token := header + "." + claims + "." + signature
		user, _, err := m.tokens.AuthenticateToken(t.Context(), token, nil)
		unbroken := strings.NewReplacer("\r", "", "\n", "") // base64 may be broken into lines
		if user != nil && (unbroken.Replace(header) != parts[0] || unbroken.Replace(claims) != parts[1]) {
			t.Errorf("%q is %v", token, user)
		}
		if err != nil && len(signature) > 16 && strings.Contains(err.Error(), signature) {
			t.Errorf("%v shows the token", err)
		}
	})
}

func BenchmarkAccountToken(b *testing.B) {
	m := newMint(b, rsaKey(b))
	token := m.good(m.claims(jwt.MapClaims{"kubernetes.io": bound(map[string]any{"pod": ref("p", "u-pod")})}))
	b.ReportAllocs()
	for b.Loop() {
		if user, _, err := m.tokens.AuthenticateToken(b.Context(), token, nil); user == nil {
			b.Fatal(err)
		}
	}
}
