package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry/store"
)

func TestRBACPolicyIsValid(t *testing.T) {
	p, err := parseRBACPolicy(rbacPolicyText)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.clusterRoles) == 0 || len(p.clusterRoleBindings) == 0 || len(p.roles) == 0 || len(p.roleBindings) == 0 {
		t.Fatalf("the policy is not complete: %+v", p)
	}
	seen := map[string]bool{}
	once := func(kind string, o Object) {
		if id := kind + " " + o.GetNamespace() + "/" + o.GetName(); seen[id] {
			t.Errorf("%s is there twice", id)
		} else {
			seen[id] = true
		}
	}
	for _, role := range p.clusterRoles {
		once("clusterrole", role)
		expectFields(t, validateClusterRole(&Write{}, role, nil))
	}
	for _, role := range p.roles {
		once("role", role)
		expectFields(t, validatePolicyRules(role.Rules, true))
	}
	for _, b := range p.clusterRoleBindings {
		once("clusterrolebinding", b)
		expectFields(t, append(validateRoleRef(b.RoleRef, "ClusterRole"), validateRoleSubjects(b.Subjects, false)...))
	}
	for _, b := range p.roleBindings {
		once("rolebinding", b)
		expectFields(t, append(validateRoleRef(b.RoleRef, "Role"), validateRoleSubjects(b.Subjects, true)...))
	}
}

func TestRBACPolicyLines(t *testing.T) {
	p, err := parseRBACPolicy(`
# a comment
clusterrole edit
	is part of admin
	gathers edit

controller job
	read pods,secrets in core,apps named a,b
	get paths /x /y/*
	events
`)
	if err != nil {
		t.Fatal(err)
	}
	edit, job := p.clusterRoles[0], p.clusterRoles[1]
	if edit.Labels["rbac.authorization.k8s.io/aggregate-to-admin"] != "true" ||
		edit.AggregationRule.ClusterRoleSelectors[0].MatchLabels["rbac.authorization.k8s.io/aggregate-to-edit"] != "true" {
		t.Errorf("edit is %+v", edit)
	}
	want := []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"", "apps"}, Resources: []string{"pods", "secrets"}, ResourceNames: []string{"a", "b"}},
		{Verbs: []string{"get"}, NonResourceURLs: []string{"/x", "/y/*"}},
		{Verbs: []string{"create", "patch", "update"}, APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}},
	}
	if d := cmp.Diff(want, job.Rules); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
	b := p.clusterRoleBindings[0]
	if len(p.clusterRoleBindings) != 1 || b.Name != "system:controller:job" || b.Subjects[0].Namespace != "kube-system" || b.Subjects[0].Name != "job" {
		t.Errorf("bindings are %+v", p.clusterRoleBindings)
	}
	for _, bad := range []string{"clusterrole", "\tread pods", "clusterrole a\n\tread", "clusterrole a\n\tread pods of core", "clusterrole a\n\tfor cat b"} {
		if _, err := parseRBACPolicy(bad); err == nil || !strings.Contains(err.Error(), "line") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRBACPolicyIsAddedToWhatIsThere(t *testing.T) {
	r := startCluster(t, "10.0.0.0/24")
	role := func(name string, annotations map[string]string) {
		_, err := r.Create(t.Context(), r.Resource(rbacv1.GroupName, "clusterroles"), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
			Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"own"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	role("system:basic-user", nil)
	role("system:discovery", map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"})
	_, err := r.Create(t.Context(), r.Resource(rbacv1.GroupName, "clusterrolebindings"), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "system:monitoring"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.EnsureRBACPolicy(t.Context()); err != nil {
		t.Fatal(err)
	}
	get := func(plural, name string) Object {
		entry, err := r.Store(rbacv1.GroupName, plural).Get(t.Context(), store.Key{Name: name}, "")
		if err != nil {
			t.Fatal(err)
		}
		o, err := entry.Object()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if rules := get("clusterroles", "system:basic-user").(*rbacv1.ClusterRole).Rules; len(rules) < 2 || rules[0].Resources[0] != "own" {
		t.Errorf("a role with a rule of its own has %v", rules)
	}
	if rules := get("clusterroles", "system:discovery").(*rbacv1.ClusterRole).Rules; len(rules) != 1 {
		t.Errorf("a role that is to be left alone has %v", rules)
	}
	if b := get("clusterrolebindings", "system:monitoring").(*rbacv1.ClusterRoleBinding); b.RoleRef.Name != "system:monitoring" {
		t.Errorf("a binding for another role is still for %s", b.RoleRef.Name)
	}
}
