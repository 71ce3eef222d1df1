package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAggregatedRules(t *testing.T) {
	rule := func(resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}}
	}
	role := func(name, label string, resources ...string) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"in": label}}}
		for _, resource := range resources {
			r.Rules = append(r.Rules, rule(resource))
		}
		return r
	}
	sum := func(labels ...string) *rbacv1.ClusterRole {
		r := role("sum", "a")
		r.AggregationRule = &rbacv1.AggregationRule{}
		for _, label := range labels {
			r.AggregationRule.ClusterRoleSelectors = append(r.AggregationRule.ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: map[string]string{"in": label}})
		}
		return r
	}
	for name, c := range map[string]struct {
		of   *rbacv1.ClusterRole
		all  []*rbacv1.ClusterRole
		want []string
	}{
		"in the order of names":             {sum("a"), []*rbacv1.ClusterRole{role("z", "a", "pods"), role("b", "a", "nodes")}, []string{"nodes", "pods"}},
		"in the order of selectors first":   {sum("a", "b"), []*rbacv1.ClusterRole{role("z", "a", "pods"), role("b", "b", "nodes")}, []string{"pods", "nodes"}},
		"each rule once":                    {sum("a"), []*rbacv1.ClusterRole{role("x", "a", "pods"), role("y", "a", "pods")}, []string{"pods"}},
		"not its own":                       {sum("a"), []*rbacv1.ClusterRole{role("sum", "a", "secrets"), role("y", "a", "pods")}, []string{"pods"}},
		"nothing that is not selected":      {sum("c"), []*rbacv1.ClusterRole{role("x", "a", "pods")}, nil},
		"an empty rule selects no selector": {sum(), []*rbacv1.ClusterRole{role("x", "a", "pods")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := aggregateRules(c.of, c.all)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rules {
				got = append(got, r.Resources...)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
