package auth

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/registry"
)

func abacOf(t *testing.T, lines ...string) ABAC {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	policies, err := ReadABAC(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

func abacLine(spec string) string {
	return `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{` + spec + `}}`
}

func TestPoliciesAllow(t *testing.T) {
	alice := registry.User{Name: "alice", Groups: []string{"devs", authenticatedGroup}}
	nobody := registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}
	path := func(verb, path string) *registry.Attributes { return &registry.Attributes{Verb: verb, Path: path} }
	for name, c := range map[string]struct {
		policy string
		user   registry.User
		asks   *registry.Attributes
		want   bool
	}{
		"a user in a namespace":                 {abacLine(`"user":"alice","namespace":"ns","resource":"pods","apiGroup":""`), alice, wish(t, alice, "delete /pods ns/p"), true},
		"not in another":                        {abacLine(`"user":"alice","namespace":"ns","resource":"pods"`), alice, wish(t, alice, "get /pods other/p"), false},
		"not another group's resource":          {abacLine(`"user":"alice","namespace":"*","resource":"*"`), alice, wish(t, alice, "get apps/deployments ns/d"), false},
		"stars":                                 {abacLine(`"group":"devs","namespace":"*","resource":"*","apiGroup":"*"`), alice, wish(t, alice, "get apps/deployments ns/d"), true},
		"user and group":                        {abacLine(`"user":"alice","group":"ops","namespace":"*","resource":"*","apiGroup":"*"`), alice, wish(t, alice, "get /pods ns/p"), false},
		"nobody named is nobody":                {abacLine(`"namespace":"*","resource":"*","apiGroup":"*"`), alice, wish(t, alice, "get /pods ns/p"), false},
		"every user is every known user":        {abacLine(`"user":"*","namespace":"*","resource":"*","apiGroup":"*"`), nobody, wish(t, nobody, "get /pods ns/p"), false},
		"reading":                               {abacLine(`"user":"*","readonly":true,"namespace":"*","resource":"*"`), alice, wish(t, alice, "watch /pods ns/"), true},
		"reading only":                          {abacLine(`"user":"*","readonly":true,"namespace":"*","resource":"*"`), alice, wish(t, alice, "create /pods ns/"), false},
		"a path":                                {abacLine(`"group":"system:unauthenticated","nonResourcePath":"/version"`), nobody, path("get", "/version"), true},
		"paths below":                           {abacLine(`"user":"alice","nonResourcePath":"/api*"`), alice, path("get", "/apis/apps"), true},
		"a path is no resource":                 {abacLine(`"user":"alice","nonResourcePath":"*"`), alice, wish(t, alice, "get /pods ns/p"), false},
		"resources are no path":                 {abacLine(`"user":"alice","namespace":"*","resource":"*","apiGroup":"*"`), alice, path("get", "/version"), false},
		"unversioned: all that is left out":     {`{"user":"alice"}`, alice, path("get", "/version"), true},
		"unversioned: everybody who is known":   {`{"readonly":true}`, alice, wish(t, alice, "list apps/deployments ns/"), true},
		"unversioned: not the unknown":          {`{}`, nobody, path("get", "/version"), false},
		"unversioned: a namespace is no path":   {`{"namespace":"ns"}`, alice, path("get", "/version"), false},
		"unversioned: resources of a namespace": {`{"namespace":"ns"}`, alice, wish(t, alice, "delete apps/deployments ns/d"), true},
	} {
		t.Run(name, func(t *testing.T) {
			c.asks.User = c.user
			decision, reason, err := abacOf(t, "# policies", "", c.policy).Authorize(t.Context(), c.asks)
			if got := decision == registry.Allow; got != c.want || err != nil || !got && reason != "No policy matched." {
				t.Errorf("allowed %v, %q, %v", got, reason, err)
			}
		})
	}
}

func TestABrokenPolicyIsNamedWithItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy")
	for text, want := range map[string]string{
		"# x\n{":       ":2: unexpected end of JSON input",
		"{\"user\":1}": ":1: json: cannot unmarshal number into Go struct field .user of type string",
		"\n\n" + `{"apiVersion":"v1","kind":"Pod"}`: ":3: v1 Pod is no policy: use kind Policy of abac.authorization.kubernetes.io/v1beta1",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadABAC(path, slog.New(slog.DiscardHandler)); err == nil || err.Error() != path+want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAMisspelledFieldOfAPolicyIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(path, []byte(abacLine(`"user":"a","readOnly":true`)), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := ReadABAC(path, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), `unknown field \"spec.readOnly\"`) {
		t.Errorf("%v: %s", err, &log)
	}
}

func TestPoliciesAreListedAsRules(t *testing.T) {
	policies := abacOf(t, abacLine(`"user":"alice","readonly":true,"namespace":"ns","resource":"pods"`), abacLine(`"user":"alice","namespace":"*","nonResourcePath":"/x"`),
		abacLine(`"user":"bob","namespace":"*","resource":"*"`))
	rules, incomplete, err := policies.Rules(t.Context(), registry.User{Name: "alice"}, "ns")
	want := []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"/x"}},
	}
	if diff := cmp.Diff(want, rules); diff != "" || incomplete || err != nil {
		t.Errorf("%s %v %v", diff, incomplete, err)
	}
}

func FuzzABAC(f *testing.F) {
	f.Add(abacLine(`"user":"*","nonResourcePath":"*"`))
	f.Add(`{"user":"alice","readonly":true}`)
	f.Add(`{"apiVersion":[]}`)
	anonymous := &registry.Attributes{User: registry.User{Name: anonymousUser}, Verb: "get", Path: "/x"}
	f.Fuzz(func(t *testing.T, line string) {
		policy, _, err := parseABAC([]byte(line))
		if err == nil && policy.allows(anonymous) && policy.User != anonymousUser {
			t.Errorf("nobody in particular is allowed: %+v", policy)
		}
	})
}
