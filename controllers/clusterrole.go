package controllers

import (
	"cmp"
	"context"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
)

// clusterRoles promises that a cluster role with an aggregation rule has the rules of all roles that it selects: selector
// by selector, in the order of the roles' names, each rule once. A role that is the sum of others may be part of a third,
// so that any change concerns all that have such a rule.
type clusterRoles struct{ roles *Source }

func clusterRoleLoop(c *Config) Loop {
	x := &clusterRoles{c.Source(&rbacv1.ClusterRole{})}
	return Loop{Watches: []Watch{{x.roles, x.aggregated}}, Reconcile: x.reconcile}
}

func (x *clusterRoles) aggregated(_, _ metav1.Object) (keys []Key) {
	for _, o := range x.roles.all("") {
		if o.(*rbacv1.ClusterRole).AggregationRule != nil {
			keys = append(keys, KeyOf(o))
		}
	}
	return keys
}

func (x *clusterRoles) reconcile(ctx context.Context, t *Turn) error {
	role, there := x.roles.cached(t.Key).(*rbacv1.ClusterRole)
	if !there || role.AggregationRule == nil {
		return nil
	}
	var others []*rbacv1.ClusterRole
	for _, o := range x.roles.all("") {
		others = append(others, o.(*rbacv1.ClusterRole))
	}
	rules, err := aggregateRules(role, others)
	if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
		return err
	}
	wanted := applyrbacv1.ClusterRole(role.Name)
	for _, r := range rules {
		wanted.WithRules(&applyrbacv1.PolicyRuleApplyConfiguration{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources,
			ResourceNames: r.ResourceNames, NonResourceURLs: r.NonResourceURLs})
	}
	_, err = Apply(ctx, t, t.Client.RbacV1().ClusterRoles(), wanted)
	return err
}

// aggregateRules are the rules that a role has to have.
func aggregateRules(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	rules := []rbacv1.PolicyRule{}
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, part := range all {
			if part.Name != role.Name && selector.Matches(labels.Set(part.Labels)) {
				rules = appendRules(rules, part.Rules)
			}
		}
	}
	return rules, nil
}

// appendRules appends those that are not there yet.
func appendRules(to, rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for _, r := range rules {
		if !slices.ContainsFunc(to, func(o rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(o, r) }) {
			to = append(to, r)
		}
	}
	return to
}
