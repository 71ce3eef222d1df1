package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// EnsureRBACPolicy gives the cluster the roles and bindings that it cannot do without. Rules and subjects that are
// missing are added, what administrators have added stays, and who says so in the annotation
// rbacv1.AutoUpdateAnnotationKey is left alone.
func (r *Registry) EnsureRBACPolicy(ctx context.Context) error {
	policy, err := parseRBACPolicy(rbacPolicyText)
	if err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(8) // etcd syncs its disk once for writes that come together
	ensure := func(plural string, wanted Object, add func(obj Object) error) {
		work.Go(func() error { return r.ensureRBAC(ctx, plural, wanted, add) })
	}
	for _, wanted := range policy.clusterRoles {
		ensure("clusterroles", wanted, func(o Object) error {
			role := o.(*rbacv1.ClusterRole)
			role.Rules = withMissingRules(role.Rules, wanted.Rules)
			role.AggregationRule = withMissingSelectors(role.AggregationRule, wanted.AggregationRule)
			return nil
		})
	}
	for _, wanted := range policy.roles {
		ensure("roles", wanted, func(o Object) error {
			role := o.(*rbacv1.Role)
			role.Rules = withMissingRules(role.Rules, wanted.Rules)
			return nil
		})
	}
	for _, wanted := range policy.clusterRoleBindings {
		ensure("clusterrolebindings", wanted, func(o Object) error {
			b := o.(*rbacv1.ClusterRoleBinding)
			b.Subjects = withMissingSubjects(b.Subjects, wanted.Subjects)
			return sameRoleRef(b.RoleRef, wanted.RoleRef)
		})
	}
	for _, wanted := range policy.roleBindings {
		ensure("rolebindings", wanted, func(o Object) error {
			b := o.(*rbacv1.RoleBinding)
			b.Subjects = withMissingSubjects(b.Subjects, wanted.Subjects)
			return sameRoleRef(b.RoleRef, wanted.RoleRef)
		})
	}
	return work.Wait()
}

// otherRole tells that a binding is for another role than it should be. That cannot be changed: it has to be made anew.
type otherRole struct{ name string }

func (e otherRole) Error() string { return "the binding is for " + e.name }

func sameRoleRef(have, want rbacv1.RoleRef) error {
	if have != want {
		return otherRole{have.Name}
	}
	return nil
}

// ensureRBAC creates an object, or lets add complete the one that is there.
func (r *Registry) ensureRBAC(ctx context.Context, plural string, wanted Object, add func(obj Object) error) error {
	row, key := r.Resource(rbacv1.GroupName, plural), objectKey(wanted)
	_, err := r.Update(ctx, row, "", key, func(o Object) error {
		if o.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
			return nil
		}
		o.SetAnnotations(withMissingKeys(o.GetAnnotations(), wanted.GetAnnotations()))
		o.SetLabels(withMissingKeys(o.GetLabels(), wanted.GetLabels()))
		return add(o)
	})
	if _, other := err.(otherRole); other {
		err = r.Delete(ctx, row, key, nil)
		if err == nil {
			_, err = r.Create(ctx, row, wanted)
		}
	}
	if apierrors.IsNotFound(err) {
		_, err = r.Create(ctx, row, wanted)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make %s %s: %w", row.Singular, key.Name, err)
	}
	return nil
}

func withMissingKeys(have, want map[string]string) map[string]string {
	all := maps.Clone(want)
	maps.Copy(all, have)
	return all
}

func withMissingRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(have, want)
	return append(have, missing...)
}

func withMissingSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}

// withMissingSelectors also takes the selectors from a role that is no whole any more.
func withMissingSelectors(have, want *rbacv1.AggregationRule) *rbacv1.AggregationRule {
	if want == nil || have == nil {
		return want
	}
	for _, s := range want.ClusterRoleSelectors {
		if !slices.ContainsFunc(have.ClusterRoleSelectors, func(h metav1.LabelSelector) bool { return equal(h, s) }) {
			have.ClusterRoleSelectors = append(have.ClusterRoleSelectors, s)
		}
	}
	return have
}
