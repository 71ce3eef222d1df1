package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestAuthorizationScenarios runs scripts about nodes, policy files and owners.
func TestAuthorizationScenarios(t *testing.T) {
	runScenarios(t, "apiserver", "testdata/authorization", "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
		"--authorization-mode=Node,RBAC,ABAC", "--authorization-policy-file=testdata/authorization/policy.jsonl")
}

// TestAServiceDecides starts a server that asks a webhook about what roles do not allow, unless it concerns kube-system.
func TestAServiceDecides(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		switch wish := review.Spec.ResourceAttributes; {
		case wish == nil:
		case wish.Namespace == "kube-system":
			t.Error("asked about kube-system")
		case wish.Resource == "secrets":
			review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "secrets are secret"}
		case wish.Resource == "endpoints":
			w.WriteHeader(http.StatusTeapot)
			return
		default:
			review.Status.Allowed = wish.Verb == "list"
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kubeconfig := write("kubeconfig", fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"users":[{"name":"u","user":{}}]}`, service.URL))
	config := write("authorization.yaml", fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- {type: RBAC, name: rbac}
- type: Webhook
  name: service
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    matchConditions:
    - expression: "!has(request.resourceAttributes) || request.resourceAttributes.namespace != 'kube-system'"
`, kubeconfig))
	c := cluster.Start(t, "apiserver", "--authorization-config="+config, "--token-auth-file="+write("tokens", "alice-token,alice,1\n"))
	for path, want := range map[string]string{
		"/api/v1/namespaces/default/pods":      `200 {"kind":"PodList"`,
		"/api/v1/namespaces/default/pods/x":    `403 pods \"x\" is forbidden: User \"alice\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\""`,
		"/api/v1/namespaces/default/secrets":   `403 secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\": secrets are secret`,
		"/api/v1/namespaces/default/endpoints": `500 Internal Server Error: "/api/v1/namespaces/default/endpoints": the server responded with the status code 418 but did not return more information`,
		"/api/v1/namespaces/kube-system/pods":  `403 pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"kube-system\""`,
		"/api":                                 `200 {"kind":"APIVersions"`,
		"/debug/pprof/":                        `403 forbidden: User \"alice\" cannot get path \"/debug/pprof/\""`,
	} {
		code, body := getAs(t, c, "alice-token", path)
		wantCode, wantText, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != wantCode || !strings.Contains(body, wantText) {
			t.Errorf("%s: %d %s\nwant %s", path, code, body, want)
		}
	}
}

// getAs asks for a path with a token.
func getAs(t *testing.T, c *cluster.Cluster, token, path string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	client := c.Client()
	defer client.CloseIdleConnections()
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
