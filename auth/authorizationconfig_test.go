package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/knarr-dev/knarr/registry"
)

// reviewer is a service that is asked by SubjectAccessReviews: it notes what it is asked, and answers what it is told.
type reviewer struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	status string // of the next answers, JSON; an HTTP code if it is a number
}

func newReviewer(t *testing.T) *reviewer {
	r := &reviewer{status: `{"allowed":true}`}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var body json.RawMessage
		var form struct{ APIVersion string }
		if err := errors.Join(json.NewDecoder(q.Body).Decode(&body), json.Unmarshal(body, &form)); err != nil {
			t.Error(err)
		}
		r.asked = append(r.asked, string(body))
		var code int
		if n, _ := fmt.Sscanf(r.status, "%d", &code); n == 1 {
			w.WriteHeader(code)
			return
		}
		fmt.Fprintf(w, `{"apiVersion":%q,"kind":"SubjectAccessReview","status":%s}`, form.APIVersion, r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *reviewer) answer(status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.asked = status, nil
}

// kubeconfig leads to the service.
func (r *reviewer) kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"users":[{"name":"u","user":{}}]}`, r.URL+"/authorize")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// webhookConfig is a configuration of one webhook, with some more of its fields, and what comes after it.
func webhookConfig(r *reviewer, t *testing.T, fields, after string) string {
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: service
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    %s
%s`, r.kubeconfig(t), fields, after)
}

func openConfigured(t *testing.T, config string) registry.Authorizer {
	t.Helper()
	a, err := Authorization{ConfigFile: configFile(t, config), Objects: followed{}, Log: slog.New(slog.DiscardHandler)}.Authorizer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAWebhookDecides(t *testing.T) {
	r := newReviewer(t)
	alice := registry.User{Name: "alice", UID: "1", Groups: []string{"devs"}, Extra: map[string][]string{"k": {"v"}}}
	for name, c := range map[string]struct {
		policy, status string
		want           registry.Decision
		reason, err    string
	}{
		"it allows":                     {"NoOpinion", `{"allowed":true,"reason":"may"}`, registry.Allow, "may", ""},
		"it denies":                     {"NoOpinion", `{"allowed":false,"denied":true,"reason":"no"}`, registry.Deny, "no", ""},
		"it has no opinion":             {"Deny", `{"allowed":false,"reason":"who?"}`, registry.NoOpinion, "who?", ""},
		"it contradicts itself":         {"NoOpinion", `{"allowed":true,"denied":true}`, registry.Deny, "", "webhook subject access review returned both allow and deny response"},
		"it answers no JSON":            {"NoOpinion", `{"allowed":true}}{`, registry.NoOpinion, "", "couldn't get version/kind; json parse error"},
		"it answers another question":   {"NoOpinion", `{"allowed":true},"kind":"Pod"`, registry.NoOpinion, "", "converting (v1.Pod) to (v1.SubjectAccessReview): unknown conversion"},
		"it answers in another version": {"NoOpinion", `{"allowed":true},"apiVersion":"authorization.k8s.io/v1beta1"`, registry.NoOpinion, "", "converting (v1beta1.SubjectAccessReview) to (v1.SubjectAccessReview): unknown conversion"},
		"it fails, and that decides":    {"Deny", `404`, registry.Deny, "", "the server could not find the requested resource"},
		"it fails, which says nothing":  {"NoOpinion", `404`, registry.NoOpinion, "", "the server could not find the requested resource"},
	} {
		t.Run(name, func(t *testing.T) {
			r.answer(c.status)
			a := openConfigured(t, webhookConfig(r, t, "failurePolicy: "+c.policy, ""))
			decision, reason, err := a.Authorize(t.Context(), wish(t, alice, "get /pods ns/p"))
			if decision != c.want || reason != c.reason || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v %q %v", decision, reason, err)
			}
		})
	}
}

func TestAWebhookIsAskedOncePerQuestion(t *testing.T) {
	r := newReviewer(t)
	a := openConfigured(t, webhookConfig(r, t, "failurePolicy: NoOpinion", ""))
	request := wish(t, registry.User{Name: "alice"}, "list /pods ns/ spec.nodeName=n1")
	for range 3 {
		if d, _, err := a.Authorize(t.Context(), request); d != registry.Allow || err != nil {
			t.Fatal(d, err)
		}
	}
	request.User.Name = "bob"
	if d, _, err := a.Authorize(t.Context(), request); d != registry.Allow || err != nil {
		t.Fatal(d, err)
	}
	spec := `{"resourceAttributes":{"namespace":"ns","verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]}},"user":"%s"}`
	if len(r.asked) != 2 || !strings.Contains(r.asked[0], fmt.Sprintf(spec, "alice")) || !strings.Contains(r.asked[1], fmt.Sprintf(spec, "bob")) {
		t.Errorf("asked %v", r.asked)
	}
	r.answer(`{"allowed":false}`)
	request.Name = strings.Repeat("x", maxAsked)
	for range 2 {
		if d, _, _ := a.Authorize(t.Context(), request); d != registry.NoOpinion {
			t.Fatal(d)
		}
	}
	if len(r.asked) != 2 {
		t.Error("an oversized question is remembered")
	}
}

func TestAWebhookOfTheOldVersionIsAskedForTheGroup(t *testing.T) {
	r := newReviewer(t)
	modes := Authorization{Modes: []string{"Webhook"}}
	modes.Webhook.SubjectAccessReviewVersion = "v1beta1"
	path := r.kubeconfig(t)
	modes.Webhook.ConnectionInfo.KubeConfigFile = &path
	a, err := modes.Authorizer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d, _, err := a.Authorize(t.Context(), &registry.Attributes{User: registry.User{Name: "a", Groups: []string{"devs"}}, Verb: "get", Path: "/x"}); d != registry.Allow || err != nil {
		t.Fatal(d, err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(r.asked[0]), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"user": "a", "group": []any{"devs"}, "nonResourceAttributes": map[string]any{"path": "/x", "verb": "get"}}
	if diff := cmp.Diff(want, got["spec"]); diff != "" || got["apiVersion"] != "authorization.k8s.io/v1beta1" {
		t.Error(diff, got["apiVersion"])
	}
}

func TestConditionsDecideWhetherAWebhookIsAsked(t *testing.T) {
	r := newReviewer(t)
	conditions := func(policy string, expressions ...string) registry.Authorizer {
		text := "failurePolicy: " + policy + "\n    matchConditions:"
		for _, e := range expressions {
			text += "\n    - expression: " + e
		}
		return openConfigured(t, webhookConfig(r, t, text, ""))
	}
	const inKubeSystem = "request.resourceAttributes.namespace == 'kube-system'"
	pods := wish(t, registry.User{Name: "a"}, "get /pods kube-system/p")
	path := &registry.Attributes{User: registry.User{Name: "a"}, Verb: "get", Path: "/x"}
	for name, c := range map[string]struct {
		authorizer registry.Authorizer
		request    *registry.Attributes
		want       registry.Decision
		asked      int
		err        bool
	}{
		"all are true":                          {conditions("Deny", inKubeSystem, "request.user == 'a'"), pods, registry.Allow, 1, false},
		"one is false":                          {conditions("Deny", inKubeSystem, "request.user == 'b'"), pods, registry.NoOpinion, 0, false},
		"one cannot be evaluated":               {conditions("Deny", inKubeSystem), path, registry.Deny, 0, true},
		"and that says nothing":                 {conditions("NoOpinion", inKubeSystem), path, registry.NoOpinion, 0, true},
		"a false one counts more than an error": {conditions("Deny", inKubeSystem, "request.user == 'b'"), path, registry.NoOpinion, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r.answer(`{"allowed":true}`)
			decision, _, err := c.authorizer.Authorize(t.Context(), c.request)
			if decision != c.want || len(r.asked) != c.asked || c.err != (err != nil) {
				t.Errorf("%v, asked %d times, %v", decision, len(r.asked), err)
			}
		})
	}
}

func TestABrokenConfigurationIsNamedWithItsLine(t *testing.T) {
	r := newReviewer(t)
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"
	for name, c := range map[string]struct{ text, want string }{
		"no authorizer":      {head + "authorizers: []", ":3: authorizers: Required value: at least one authorization mode must be defined"},
		"an unknown type":    {head + "authorizers:\n- {type: Rbac, name: rbac}", `:4: authorizers[0].type: Unsupported value: "Rbac": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"`},
		"an unknown field":   {head + "authorizers:\n- type: Node\n  name: node\n  fast: true", `:6: unknown field "authorizers[0].fast"`},
		"another name":       {head + "authorizers:\n- type: Node\n  name: nodes", ":5: authorizers[0].name: Invalid value: \"nodes\": expected name node for authorizer Node instead of nodes"},
		"a type twice":       {head + "authorizers:\n- {type: Node, name: node}\n- {type: Node, name: node2}", `authorizers[1].type: Duplicate value: "Node"`},
		"a broken condition": {webhookConfig(r, t, "failurePolicy: Deny\n    matchConditions: [{expression: request.usr}]", ""), "authorizers[0].matchConditions[0].expression: Invalid value: \"request.usr\": compilation failed"},
		"no failure policy":  {webhookConfig(r, t, "", ""), "authorizers[0].failurePolicy: Required value"},
		"itself":             {strings.Replace(webhookConfig(r, t, "failurePolicy: Deny", ""), "KubeConfigFile", "InClusterConfig", 1), "kubeConfigFile"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Authorization{ConfigFile: configFile(t, c.text), Objects: followed{}}.Authorizer(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), "--authorization-config: /") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAChangedConfigurationHoldsAtOnceAndABrokenOneNever(t *testing.T) {
	r := newReviewer(t)
	path := configFile(t, webhookConfig(r, t, "failurePolicy: NoOpinion", "- {type: AlwaysDeny, name: alwaysdeny}"))
	opened, err := Authorization{ConfigFile: path}.Authorizer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := opened.(configuredAuthorizer)
	decide := func() registry.Decision {
		d, _, err := a.Authorize(t.Context(), wish(t, registry.User{Name: "a"}, "get /pods ns/p"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	rewrite := func(text string) error {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := a.reload()
		return err
	}
	const head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthorizationConfiguration\nauthorizers:\n"
	if decide() != registry.Allow {
		t.Error("the webhook does not decide")
	}
	if err := rewrite(head + "- {type: AlwaysDeny, name: alwaysdeny}\n"); err != nil || decide() != registry.NoOpinion {
		t.Errorf("the webhook still decides: %v", err)
	}
	for text, want := range map[string]string{
		head + "- {type: RBAC, name: rbac}\n": "authorizer type RBAC is not allowed if it was not enabled at initial server startup",
		"{":                                   "",
		webhookConfig(r, t, "failurePolicy: NoOpinion", ""): "missing required types: [AlwaysDeny]",
	} {
		if err := rewrite(text); err == nil || !strings.Contains(err.Error(), want) || decide() != registry.NoOpinion {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, incomplete, err := a.Rules(context.Background(), registry.User{}, ""); incomplete || err != nil {
		t.Error(incomplete, err)
	}
}
