package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/fields"
	operators "k8s.io/apimachinery/pkg/selection"
)

func TestAuthorizationFlagsThatDoNotGoTogetherAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*AuthorizationConfig)
		want   string
	}{
		"the defaults":               {func(*AuthorizationConfig) {}, ""},
		"a file alone":               {func(c *AuthorizationConfig) { c.ConfigFile = "f" }, ""},
		"a file with policies":       {func(c *AuthorizationConfig) { c.ConfigFile, c.PolicyFile = "f", "p" }, ""},
		"a file and modes":           {func(c *AuthorizationConfig) { c.ConfigFile, c.Mode = "f", []string{"RBAC"} }, "--authorization-config stands in place of --authorization-mode and --authorization-webhook-*: leave those out"},
		"a file and the webhook's":   {func(c *AuthorizationConfig) { c.ConfigFile, c.AllowedTTL = "f", 1 }, "--authorization-config stands in place of --authorization-mode and --authorization-webhook-*: leave those out"},
		"a mode twice":               {func(c *AuthorizationConfig) { c.Mode = []string{"RBAC", "Node", "RBAC"} }, "--authorization-mode RBAC,Node,RBAC names a mode twice"},
		"ABAC without policies":      {func(c *AuthorizationConfig) { c.Mode = []string{"ABAC"} }, "--authorization-mode ABAC needs --authorization-policy-file"},
		"policies without ABAC":      {func(c *AuthorizationConfig) { c.PolicyFile = "p" }, "--authorization-policy-file needs --authorization-mode ABAC"},
		"Webhook without a service":  {func(c *AuthorizationConfig) { c.Mode = []string{"Webhook"} }, "--authorization-mode Webhook needs --authorization-webhook-config-file"},
		"a service without Webhook":  {func(c *AuthorizationConfig) { c.WebhookFile = "w" }, "--authorization-webhook-config-file needs --authorization-mode Webhook"},
		"reviews of a later version": {func(c *AuthorizationConfig) { c.WebhookVersion = "v2" }, `--authorization-webhook-version is "v2": use v1 or v1beta1`},
	} {
		t.Run(name, func(t *testing.T) {
			config := defaultAuthorization()
			c.change(&config)
			got := ""
			if err := config.check(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAuthorizersLearnWhatACollectionIsNarrowedTo(t *testing.T) {
	for target, want := range map[string]struct {
		name   string
		fields fields.Requirements
	}{
		"/api/v1/namespaces/ns/secrets?fieldSelector=metadata.name%3Da":            {"a", fields.Requirements{{Field: "metadata.name", Operator: operators.Equals, Value: "a"}}},
		"/api/v1/namespaces/ns/secrets?watch=1&fieldSelector=metadata.name%3D%3Da": {"a", fields.Requirements{{Field: "metadata.name", Operator: operators.Equals, Value: "a"}}},
		"/api/v1/pods?fieldSelector=spec.nodeName%21%3Da":                          {"", fields.Requirements{{Field: "spec.nodeName", Operator: operators.NotEquals, Value: "a"}}},
		"/api/v1/namespaces/ns/secrets?fieldSelector=metadata.name%3Da%2Fb":        {"", fields.Requirements{{Field: "metadata.name", Operator: operators.Equals, Value: "a/b"}}},
		"/api/v1/namespaces/ns/secrets/b?fieldSelector=metadata.name%3Da":          {"b", nil}, // of one object there is nothing to select
		"/api/v1/watch/nodes/b?fieldSelector=metadata.name%3Da":                    {"b", nil},
		"/api/v1/watch/nodes?fieldSelector=metadata.name%3Da":                      {"", nil}, // not of both such watches
		"/api/v1/nodes?fieldSelector=nonsense":                                     {"", nil},
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		got := parseRequest(r).attributes()
		if got.Name != want.name {
			t.Errorf("%s: name %q, want %q", target, got.Name, want.name)
		}
		if d := cmp.Diff(want.fields, got.Fields); d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}
}
