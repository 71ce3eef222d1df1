package test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/knarr-dev/knarr/test/cluster"
	"github.com/knarr-dev/knarr/test/openid"
)

// file writes a file of its own.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// reviewer answers TokenReviews: whoever has the token webhook-good is wendy.
func reviewer(t *testing.T) (kubeconfig string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		if review.Spec.Token == "webhook-good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "wendy"}}
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return file(t, "webhook.kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: it
clusters: [{name: it, cluster: {server: %q}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
users: [{name: it, user: {}}]
`, s.URL+"/review"))
}

// TestAuthentication shows credentials of every kind to one server, good and bad.
func TestAuthentication(t *testing.T) {
	issuer, later := openid.Start(t), openid.Start(t)
	config := file(t, "authentication.yaml", issuer.Configuration("anonymous: {enabled: true, conditions: [{path: /readyz}]}\n"))
	c := cluster.Start(t, "apiserver", "--authentication-config="+config, "--basic-auth-file="+file(t, "users.csv", "secret,joe,u1,\"devs\"\n"),
		"--token-auth-file="+file(t, "tokens.csv", "static-good,sam,u2\n"), "--authentication-token-webhook-config-file="+reviewer(t),
		"--authentication-token-webhook-version=v1")
	proxy, err := tls.LoadX509KeyPair(filepath.Join(c.DataDir, "pki", "front-proxy-client.crt"), filepath.Join(c.DataDir, "pki", "front-proxy-client.key"))
	if err != nil {
		t.Fatal(err)
	}
	proxied := c.Client()
	proxied.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{proxy}
	basic := func(user, password string) http.Header {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header
	}
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	fake := http.Header{"X-Remote-User": {"mallory"}, "X-Remote-Group": {"system:masters"}}
	for name, one := range map[string]struct {
		client  *http.Client
		header  http.Header
		want    string // user and groups; empty for a 401
		warning string
	}{
		"a password":                     {header: basic("joe", "secret"), want: "joe devs system:authenticated", warning: "deprecated"},
		"a wrong password":               {header: basic("joe", "guess")},
		"a static token":                 {header: bearer("static-good"), want: "sam system:authenticated"},
		"an issuer's token":              {header: bearer(issuer.Token(t, nil)), want: "oidc:alice oidc:devs system:authenticated"},
		"an unknown issuer's token":      {header: bearer(later.Token(t, nil))},
		"a token that the webhook knows": {header: bearer("webhook-good"), want: "wendy system:authenticated"},
		"a token that nobody knows":      {header: bearer("bad")},
		"headers of the front proxy":     {client: proxied, header: http.Header{"X-Remote-User": {"zoe"}, "X-Remote-Group": {"ops"}}, want: "zoe ops system:authenticated"},
		"headers of anybody else":        {header: fake},
		"headers of the administrator":   {client: adminClient(t, c), header: fake, want: "kubernetes-admin system:masters system:authenticated"},
		"headers beside a token":         {header: http.Header{"Authorization": {"Bearer static-good"}, "X-Remote-User": {"mallory"}}, want: "sam system:authenticated"},
		"anonymous, on another path":     {},
	} {
		t.Run(name, func(t *testing.T) {
			if one.client == nil {
				one.client = c.Client()
			}
			who, answer := whoami(t, one.client, c.URL, one.header)
			if who != one.want {
				t.Errorf("it is %q", who)
			}
			if warning := answer.Get("Warning"); !strings.Contains(warning, one.warning) || one.warning == "" && warning != "" {
				t.Errorf("warning %q", warning)
			}
		})
	}
	t.Run("issuers change while the server runs", func(t *testing.T) {
		text := strings.Replace(later.Configuration("anonymous: {enabled: true, conditions: [{path: /readyz}]}\n"), "oidc:", "late:", -1)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new issuer's token is good", func() bool {
			who, _ := whoami(t, c.Client(), c.URL, bearer(later.Token(t, nil)))
			return who == "late:alice late:devs system:authenticated"
		})
		if who, _ := whoami(t, c.Client(), c.URL, bearer(issuer.Token(t, nil))); who != "" {
			t.Errorf("the old issuer's token is still %q", who)
		}
	})
	t.Run("somebody may act as a service account to list pods, and no more", func(t *testing.T) { constrained(t, c) })
}

// whoami is the user and the groups that the server takes the client for; empty if it takes it for nobody.
func whoami(t *testing.T, client *http.Client, url string, header http.Header) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/apis/authentication.k8s.io/v1/selfsubjectreviews",
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusUnauthorized {
		return "", answer.Header
	}
	var review authenticationv1.SelfSubjectReview
	if err := json.NewDecoder(answer.Body).Decode(&review); err != nil {
		t.Fatal(err)
	}
	return strings.Join(append([]string{review.Status.UserInfo.Username}, review.Status.UserInfo.Groups...), " "), answer.Header
}

// constrained gives joe two verbs with which he may list pods as a service account, which may do more than that.
func constrained(t *testing.T, c *cluster.Cluster) {
	admin := clientset(t, c, formats()["json"])
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	binding := func(name, user string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}}
	}
	const robot = "system:serviceaccount:default:robot"
	for user, r := range map[string]*rbacv1.ClusterRole{
		robot: role("robots", rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{""}, Resources: []string{"pods"}}),
		"joe": role("acting",
			rbacv1.PolicyRule{Verbs: []string{"impersonate:serviceaccount"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"serviceaccounts"}, ResourceNames: []string{"robot"}},
			rbacv1.PolicyRule{Verbs: []string{"impersonate-on:serviceaccount:list"}, APIGroups: []string{""}, Resources: []string{"pods"}}),
	} {
		if _, err := admin.RbacV1().ClusterRoles().Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding(r.Name, user), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	as := func(user string) *rest.Config {
		return &rest.Config{Host: c.URL, Username: "joe", Password: "secret", TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile},
			Impersonate: rest.ImpersonationConfig{UserName: user}, WarningHandler: rest.NoWarnings{}}
	}
	pods := clientOf(t, as(robot)).CoreV1().Pods("default")
	if _, err := pods.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list: %v", err)
	}
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), `User "joe" cannot impersonate-on:serviceaccount:deletecollection resource "pods"`) {
		t.Errorf("delete: %v", err)
	}
	if _, err := clientOf(t, as("kubernetes-admin")).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("as somebody else: %v", err)
	}
}
