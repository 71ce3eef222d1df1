package rbac

import (
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/registry"
)

// roleKey names a role; without a namespace it is a ClusterRole.
type roleKey struct{ namespace, name string }

// keyOf is the role that a binding in a namespace (none for a ClusterRoleBinding) refers to. ok is false for a kind that
// is no role.
func keyOf(ref rbacv1.RoleRef, namespace string) (key roleKey, ok bool) {
	switch ref.Kind {
	case "ClusterRole":
		return roleKey{name: ref.Name}, true
	case "Role":
		return roleKey{namespace: namespace, name: ref.Name}, true
	}
	return roleKey{}, false
}

// kind is the role's kind.
func (k roleKey) kind() string {
	if k.namespace == "" {
		return "ClusterRole"
	}
	return "Role"
}

// role is the place of a role. Bindings point to it, whether it exists or not.
type role struct {
	key   roleKey
	rules atomic.Pointer[ruleSet] // nil: there is no such role
	bound int                     // by so many bindings; of the writers
}

// ruleSet is a role's rules with an index, for roles of many.
type ruleSet struct {
	rules []rbacv1.PolicyRule
	// byResource has the rules that name a resource as rules do: "pods", "pods/log", "*/scale", "*".
	byResource map[string][]int
	paths      []int // the rules for paths
}

// fewRules are looked through sooner than the index is asked.
const fewRules = 4

func newRuleSet(rules []rbacv1.PolicyRule) *ruleSet {
	s := &ruleSet{rules: rules, byResource: map[string][]int{}}
	for i := range rules {
		for _, r := range rules[i].Resources {
			s.byResource[r] = append(s.byResource[r], i)
		}
		if len(rules[i].NonResourceURLs) > 0 {
			s.paths = append(s.paths, i)
		}
	}
	return s
}

// question is what is asked of rules, with what has to be made of it only once.
type question struct {
	*registry.Attributes
	resource    string // with the sub-resource
	subresource string // of any resource, as rules write it; empty if there is none
}

func ask(a *registry.Attributes) question {
	q := question{Attributes: a, resource: a.Resource}
	if a.Subresource != "" {
		q.resource, q.subresource = a.Resource+"/"+a.Subresource, "*/"+a.Subresource
	}
	return q
}

// allowing is the first rule found that allows what is asked; nil if none does.
func (s *ruleSet) allowing(q *question) *rbacv1.PolicyRule {
	if !q.ResourceRequest {
		return s.first(s.paths, q, pathMatches)
	}
	if len(s.rules) <= fewRules {
		for i := range s.rules {
			if r := &s.rules[i]; resourceMatches(r, q) && otherwiseMatches(r, q) {
				return r
			}
		}
		return nil
	}
	if r := s.first(s.byResource[q.resource], q, otherwiseMatches); r != nil {
		return r
	}
	if q.subresource != "" && q.subresource != q.resource {
		if r := s.first(s.byResource[q.subresource], q, otherwiseMatches); r != nil {
			return r
		}
	}
	if q.resource == rbacv1.ResourceAll {
		return nil // looked at already
	}
	return s.first(s.byResource[rbacv1.ResourceAll], q, otherwiseMatches)
}

func (s *ruleSet) first(candidates []int, q *question, matches func(*rbacv1.PolicyRule, *question) bool) *rbacv1.PolicyRule {
	for _, i := range candidates {
		if r := &s.rules[i]; matches(r, q) {
			return r
		}
	}
	return nil
}

// otherwiseMatches compares everything but the resource, which the index has found.
func otherwiseMatches(r *rbacv1.PolicyRule, q *question) bool {
	return verbMatches(r, q) && groupMatches(r, q) && nameMatches(r, q)
}

func verbMatches(r *rbacv1.PolicyRule, q *question) bool { return hasOrAll(r.Verbs, q.Verb) }

func groupMatches(r *rbacv1.PolicyRule, q *question) bool { return hasOrAll(r.APIGroups, q.Group) }

// nameMatches: a rule for named objects does not allow what is done to no object in particular (create, most lists).
func nameMatches(r *rbacv1.PolicyRule, q *question) bool {
	return len(r.ResourceNames) == 0 || has(r.ResourceNames, q.Name)
}

func resourceMatches(r *rbacv1.PolicyRule, q *question) bool {
	return hasOrAll(r.Resources, q.resource) || q.subresource != "" && has(r.Resources, q.subresource)
}

func pathMatches(r *rbacv1.PolicyRule, q *question) bool {
	return verbMatches(r, q) && urlMatches(r, q)
}

// urlMatches: a rule's path that ends in stars is the beginning of those that it means.
func urlMatches(r *rbacv1.PolicyRule, q *question) bool {
	for _, url := range r.NonResourceURLs {
		if url == q.Path || strings.HasSuffix(url, "*") && strings.HasPrefix(q.Path, strings.TrimRight(url, "*")) {
			return true
		}
	}
	return false
}

// all is how rules say everything, be it verbs, groups, resources or paths.
const all = "*"

func hasOrAll(list []string, want string) bool {
	for _, one := range list {
		if one == all || one == want {
			return true
		}
	}
	return false
}

func has(list []string, want string) bool {
	for _, one := range list {
		if one == want {
			return true
		}
	}
	return false
}

// matches compares a rule with a question, without an index.
func matches(r *rbacv1.PolicyRule, q *question) bool {
	if q.ResourceRequest {
		return resourceMatches(r, q) && otherwiseMatches(r, q)
	}
	return pathMatches(r, q)
}
