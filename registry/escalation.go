package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Nobody gives what he does not have. Who writes a role needs each right in it, or the verb escalate on the role; who
// writes a binding needs each right of its role, or the verb bind on that. Otherwise the right to write roles and bindings
// would be the right to everything. Members of system:masters are not asked.

// permitRole checks the rules of a role.
func permitRole(ctx context.Context, w *Write, obj, _ *rbacv1.Role) error {
	return w.permitRules(ctx, obj.Name, obj.Rules)
}

// permitClusterRole checks a role's rules, and wants all rights of who has it gather other roles' rules: those may be any,
// now or later.
func permitClusterRole(ctx context.Context, w *Write, obj, old *rbacv1.ClusterRole) error {
	if w.mayEscalate(ctx) {
		return nil
	}
	if err := w.permitRules(ctx, obj.Name, obj.Rules); err != nil {
		return err
	}
	if !gathersRoles(obj) && (old == nil || !gathersRoles(old)) {
		return nil
	}
	all := []string{"*"}
	everything := []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}
	if w.permitRules(ctx, obj.Name, everything) != nil {
		return apierrors.NewForbidden(w.Resource.GroupResource(), obj.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func gathersRoles(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// permitRoleBinding checks the rules of the role that is bound, or the verb bind on it.
func permitRoleBinding(ctx context.Context, w *Write, obj, _ *rbacv1.RoleBinding) error {
	return w.permitBinding(ctx, obj.Name, obj.RoleRef)
}

// permitClusterRoleBinding is permitRoleBinding for all namespaces.
func permitClusterRoleBinding(ctx context.Context, w *Write, obj, _ *rbacv1.ClusterRoleBinding) error {
	return w.permitBinding(ctx, obj.Name, obj.RoleRef)
}

func (w *Write) permitBinding(ctx context.Context, name string, ref rbacv1.RoleRef) error {
	if w.mayEverything() || w.mayBind(ctx, ref) {
		return nil
	}
	rules, err := w.rulesOf(ref)
	if err != nil {
		return err
	}
	return w.permitRules(ctx, name, rules)
}

// permitRules refuses rules that the writer does not have, and says which.
func (w *Write) permitRules(ctx context.Context, name string, rules []rbacv1.PolicyRule) error {
	if w.mayEscalate(ctx) {
		return nil
	}
	has, _, lost := w.Registry.Roles.Rules(ctx, w.User, w.Namespace)
	covered, missing := validation.Covers(has, rules)
	if covered {
		return nil
	}
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		w.User.Name, w.User.Groups, strings.Join(describeRules(missing), "\n"))
	if lost != nil {
		text += fmt.Sprintf("; resolution errors: %v", []error{w.asRequested(lost)})
	}
	return apierrors.NewForbidden(w.Resource.GroupResource(), name, errors.New(text))
}

// mayEscalate reports whether the writer may give more than he has, through roles. What is written through a binding is
// for mayBind to say.
func (w *Write) mayEscalate(ctx context.Context) bool {
	if w.mayEverything() {
		return true
	}
	if w.Resource.Plural != "roles" && w.Resource.Plural != "clusterroles" {
		return false
	}
	return w.may(ctx, Attributes{Verb: "escalate", Group: w.Resource.Group, Resource: w.Resource.Plural, Name: w.Name})
}

// mayBind reports whether the writer may bind a role whose rights he need not have.
func (w *Write) mayBind(ctx context.Context, ref rbacv1.RoleRef) bool {
	a := Attributes{Verb: "bind", Group: ref.APIGroup, Name: ref.Name}
	switch ref.Kind {
	case "ClusterRole":
		a.Resource = "clusterroles"
	case "Role":
		a.Resource = "roles"
	default:
		return false
	}
	return w.may(ctx, a)
}

func (w *Write) may(ctx context.Context, a Attributes) bool {
	a.User, a.ResourceRequest, a.Version, a.Namespace = w.User, true, anyOf, w.Namespace
	decision, _, _ := w.Registry.Authorizer.Authorize(ctx, &a) // what cannot be decided is not allowed
	return decision == Allow
}

// rulesOf are the rules of a role that a binding refers to. The binding has not been validated yet: names that no object
// can have are answered as a request for such an object would be.
func (w *Write) rulesOf(ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, error) {
	if ref.Kind == "Role" && w.Namespace == "" {
		return nil, apierrors.NewBadRequest("Namespace parameter required.")
	}
	if ref.Kind == "Role" || ref.Kind == "ClusterRole" {
		if ref.Name == "" {
			return nil, apierrors.NewBadRequest("Name parameter required.")
		}
		if faults := content.IsPathSegmentName(ref.Name); len(faults) > 0 {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", ref.Name, strings.Join(faults, ";")))
		}
	}
	rules, err := w.Registry.Roles.RoleRules(ref, w.Namespace)
	return rules, w.asRequested(err)
}

// asRequested has errors about roles that are not found name the resource of the request, which is all that
// kube-apiserver's storage knows when it is asked in the course of another request.
func (w *Write) asRequested(err error) error {
	var several utilerrors.Aggregate
	if errors.As(err, &several) {
		errs := slices.Clone(several.Errors())
		for i := range errs {
			errs[i] = w.asRequested(errs[i])
		}
		return utilerrors.NewAggregate(errs)
	}
	if status := apierrors.APIStatus(nil); apierrors.IsNotFound(err) && errors.As(err, &status) {
		return apierrors.NewNotFound(w.Resource.GroupResource(), status.Status().Details.Name)
	}
	return err
}

// describeRules names rights, as few as can be, in order. Each rule has one verb; those that differ in nothing else are
// told together.
func describeRules(rules []rbacv1.PolicyRule) []string {
	type object struct {
		group, resource, name string
		named                 bool
	}
	var together []rbacv1.PolicyRule
	at := map[object]int{}
	for _, r := range rules {
		if len(r.NonResourceURLs) > 0 {
			together = append(together, r)
			continue
		}
		o := object{group: r.APIGroups[0], resource: r.Resources[0], named: len(r.ResourceNames) > 0}
		if o.named {
			o.name = r.ResourceNames[0]
		}
		if i, ok := at[o]; ok {
			together[i].Verbs = append(slices.Clip(together[i].Verbs), r.Verbs...)
			continue
		}
		at[o] = len(together)
		together = append(together, r)
	}
	var texts []string
	for _, r := range together {
		texts = append(texts, describeRule(r))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func describeRule(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(p.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
