package test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/test/cluster"
)

// TestBootstrapPolicyIsRepairedAtStart breaks roles and bindings that every cluster has: a start adds what is missing, keeps
// what was added, and leaves alone what says so.
func TestBootstrapPolicyIsRepairedAtStart(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["json"])
	ctx, api := t.Context(), client.RbacV1()
	role := func(name string, change func(*rbacv1.ClusterRole)) *rbacv1.ClusterRole {
		t.Helper()
		r, err := api.ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		if err == nil && change != nil {
			change(r)
			_, err = api.ClusterRoles().Update(ctx, r, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	own := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}
	mine := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mine"}
	whole := role("system:kube-dns", nil)
	role("system:kube-dns", func(r *rbacv1.ClusterRole) {
		r.Rules, r.Labels = append([]rbacv1.PolicyRule{own}, r.Rules[1:]...), map[string]string{"mine": "too"}
	})
	role("system:heapster", func(r *rbacv1.ClusterRole) {
		r.Rules, r.Annotations = nil, map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
	})
	role("view", func(r *rbacv1.ClusterRole) {
		r.AggregationRule.ClusterRoleSelectors[0].MatchLabels = map[string]string{"mine": "too"}
	})
	if err := api.ClusterRoles().Delete(ctx, "system:discovery", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	basic, err := api.ClusterRoleBindings().Get(ctx, "system:basic-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	basic.Subjects = []rbacv1.Subject{mine}
	if _, err := api.ClusterRoleBindings().Update(ctx, basic, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.ClusterRoleBindings().Delete(ctx, "system:kube-dns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "system:kube-dns"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{mine}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	c.Stop()
	c.Restart()

	dns := role("system:kube-dns", nil)
	if len(dns.Rules) < 2 || !cmp.Equal(dns.Rules[0], own) || dns.Labels["mine"] != "too" || dns.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" {
		t.Errorf("a role that was changed: %v, labels %v", dns.Rules, dns.Labels)
	}
	for _, r := range whole.Rules {
		if !slices.ContainsFunc(dns.Rules, func(has rbacv1.PolicyRule) bool { return slices.Contains(has.Resources, r.Resources[0]) }) {
			t.Errorf("a rule was not added again: %v", r)
		}
	}
	if rules := role("system:heapster", nil).Rules; len(rules) > 0 {
		t.Errorf("a role that says that it is not to be updated: %v", rules)
	}
	if n := len(role("view", nil).AggregationRule.ClusterRoleSelectors); n != 2 {
		t.Errorf("an aggregated role gathers by %d selectors: want its own and the missing one", n)
	}
	role("system:discovery", nil)
	basic, err = api.ClusterRoleBindings().Get(ctx, "system:basic-user", metav1.GetOptions{})
	if err != nil || len(basic.Subjects) != 2 {
		t.Errorf("a binding has %v, error %v: want what it had and what was missing", basic.Subjects, err)
	}
	remade, err := api.ClusterRoleBindings().Get(ctx, "system:kube-dns", metav1.GetOptions{})
	if err != nil || remade.RoleRef.Name != "system:kube-dns" || slices.Contains(remade.Subjects, mine) {
		t.Errorf("a binding for another role is made anew: %v, error %v", remade, err)
	}
}
