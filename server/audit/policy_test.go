package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/knarr-dev/knarr/registry"
)

func policyOf(t *testing.T, rules string) (*Policy, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadPolicy(path)
}

func TestTheFirstRuleThatFitsDecides(t *testing.T) {
	p, err := policyOf(t, `
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [quiet]}
- {level: None, userGroups: [a, b], verbs: [get]}
- {level: Metadata, resources: [{group: "", resources: [pods/log, "*/status", "deployments/*"]}]}
- {level: Request, resources: [{group: "", resources: [secrets], resourceNames: [one]}], omitManagedFields: false}
- {level: Request, namespaces: [""], resources: [{group: apps}]}
- {level: Metadata, nonResourceURLs: ["/healthz*", /version], omitStages: [Panic]}
- {level: RequestResponse, namespaces: [n]}
`)
	if err != nil {
		t.Fatal(err)
	}
	of := func(resource, sub string) registry.Attributes {
		return registry.Attributes{ResourceRequest: true, Verb: "get", Resource: resource, Subresource: sub, Namespace: "other"}
	}
	with := func(a registry.Attributes, change func(*registry.Attributes)) registry.Attributes {
		change(&a)
		return a
	}
	for name, c := range map[string]struct {
		a    registry.Attributes
		want auditv1.Level // "" is no rule
	}{
		"a user":                              {registry.Attributes{User: registry.User{Name: "quiet"}, Path: "/version"}, "None"},
		"a group and a verb":                  {registry.Attributes{User: registry.User{Groups: []string{"x", "b"}}, Verb: "get", Path: "/version"}, "None"},
		"a group and another verb":            {registry.Attributes{User: registry.User{Groups: []string{"b"}}, Verb: "put", Path: "/version"}, "Metadata"},
		"a sub-resource":                      {of("pods", "log"), "Metadata"},
		"a sub-resource is not its resource":  {of("pods", ""), ""},
		"a sub-resource of any resource":      {of("nodes", "status"), "Metadata"},
		"every sub-resource, and itself":      {of("deployments", ""), "Metadata"},
		"another group":                       {with(of("pods", "log"), func(a *registry.Attributes) { a.Group = "g" }), ""},
		"a name":                              {with(of("secrets", ""), func(a *registry.Attributes) { a.Name = "one" }), "Request"},
		"another name":                        {with(of("secrets", ""), func(a *registry.Attributes) { a.Name = "two" }), ""},
		"a group's resources, cluster-scoped": {with(of("any", ""), func(a *registry.Attributes) { a.Group, a.Namespace = "apps", "" }), "Request"},
		"a path and what is below it":         {registry.Attributes{Path: "/healthz/etcd"}, "Metadata"},
		"a path as it is":                     {registry.Attributes{Path: "/version/"}, ""},
		"a namespace":                         {with(of("pods", ""), func(a *registry.Attributes) { a.Namespace = "n" }), "RequestResponse"},
		"a path is in no namespace":           {registry.Attributes{Path: "/n", Namespace: "n"}, ""},
	} {
		r := p.ruleFor(&c.a)
		if got := levelOf(r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	paths := p.ruleFor(&registry.Attributes{Path: "/version"})
	if !paths.omits(auditv1.StagePanic) || !paths.omits(auditv1.StageRequestReceived) || paths.omits(auditv1.StageResponseComplete) {
		t.Error("stages are not those of policy and rule together")
	}
	one := with(of("secrets", ""), func(a *registry.Attributes) { a.Name = "one" })
	if secret := p.ruleFor(&one); secret.omitManagedFields || !paths.omitManagedFields {
		t.Error("a rule's word on managedFields does not come before the policy's")
	}
}

func levelOf(r *rule) auditv1.Level {
	if r == nil {
		return ""
	}
	return r.Level
}

func TestABrokenPolicyIsRefusedWithItsLine(t *testing.T) {
	for rules, want := range map[string]string{
		"rules: []":                                                               "rules: Required value",
		"rules:\n- {}":                                                            "policy.yaml:4: rules[0].level: Required value",
		"rules:\n- level: Much":                                                   `policy.yaml:4: rules[0].level: Unsupported value: "Much"`,
		"rules:\n- level: None\n  user: [a]":                                      `policy.yaml:5: unknown field "rules[0].user"`,
		"omitStages: [Late]\nrules: [{level: None}]":                              `omitStages[0]: Invalid value: "Late"`,
		"rules:\n- {level: None, nonResourceURLs: [x]}":                           "must begin with a '/'",
		"rules:\n- {level: None, nonResourceURLs: [/a*b]}":                        "must be the final character",
		"rules:\n- {level: None, nonResourceURLs: [/a], namespaces: [n]}":         "cannot apply to both",
		"rules:\n- {level: None, resources: [{group: apps/v1}]}":                  "resources.group",
		"rules:\n- {level: None, resources: [{group: apps, resourceNames: [a]}]}": "requires at least one resource",
		"rules: [{level: None}]\nkind: Policy":                                    "policy.yaml:",
	} {
		if _, err := policyOf(t, rules); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", rules, err, want)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("rules: [{level: None, resources: [{group: '*', resources: ['*/*']}]}]")
	f.Fuzz(func(t *testing.T, rules string) {
		p, err := policyOf(t, rules)
		if err == nil {
			p.ruleFor(&registry.Attributes{ResourceRequest: true, Resource: "pods"})
			p.ruleFor(&registry.Attributes{Path: "/"})
		}
	})
}
