package auth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBootstrapTokens(t *testing.T) {
	const token = "abcdef.0123456789abcdef"
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		token  string
		change func(*corev1.Secret)
		groups []string // none means nobody
	}{
		"a token is in the group of all":          {groups: []string{"system:bootstrappers"}},
		"extra groups are sorted, each once":      {change: data("auth-extra-groups", "system:bootstrappers:z,system:bootstrappers:a:b-1,system:bootstrappers:z"), groups: []string{"system:bootstrappers", "system:bootstrappers:a:b-1", "system:bootstrappers:z"}},
		"it is good until it expires":             {change: data("expiration", "2026-05-01T00:00:01Z"), groups: []string{"system:bootstrappers"}},
		"groups elsewhere spoil it":               {change: data("auth-extra-groups", "system:masters")},
		"groups without a name spoil it":          {change: data("auth-extra-groups", "system:bootstrappers:a,")},
		"groups that end in a dash spoil it":      {change: data("auth-extra-groups", "system:bootstrappers:a-")},
		"it has expired":                          {change: data("expiration", "2026-05-01T00:00:00Z")},
		"when it expires cannot be read":          {change: data("expiration", "tomorrow")},
		"it is not for authentication":            {change: data("usage-bootstrap-authentication", "yes")},
		"the secret differs":                      {token: "abcdef.0123456789abcdee"},
		"the secret is cut":                       {token: "abcdef.0123456789abcde"},
		"the Secret is another's":                 {change: data("token-id", "fedcba")},
		"the Secret is of another type":           {change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		"the Secret is being deleted":             {change: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: now} }},
		"there is no such Secret":                 {token: "aaaaaa.0123456789abcdef"},
		"capital letters are none of its letters": {token: "ABCDEF.0123456789abcdef"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &corev1.Secret{ObjectMeta: metaOf("kube-system", "bootstrap-token-abcdef", "u"), Type: bootstrapSecretType, Data: map[string][]byte{
				"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true")}}
			if c.change != nil {
				c.change(kept)
			}
			if c.token == "" {
				c.token = token
			}
			tokens := &BootstrapTokens{Objects: shelf{"secrets/kube-system/bootstrap-token-abcdef": kept}, Now: func() time.Time { return now }}
			user, _, err := tokens.AuthenticateToken(t.Context(), c.token, nil)
			if err != nil {
				t.Fatal(err)
			}
			if user == nil {
				if c.groups != nil {
					t.Error("it is nobody")
				}
				return
			}
			if d := cmp.Diff(c.groups, user.Groups); d != "" || user.Name != "system:bootstrap:abcdef" {
				t.Errorf("it is %v: %s", user, d)
			}
		})
	}
}

func data(key, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
}
