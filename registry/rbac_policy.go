package registry

import (
	_ "embed"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rbacPolicyText is the policy of every cluster, in a form of its own: see its first lines.
//
//go:embed rbac_policy.txt
var rbacPolicyText string

// rbacPolicy is a policy as objects, in the order of its text.
type rbacPolicy struct {
	clusterRoles        []*rbacv1.ClusterRole
	clusterRoleBindings []*rbacv1.ClusterRoleBinding
	roles               []*rbacv1.Role
	roleBindings        []*rbacv1.RoleBinding
}

// parseRBACPolicy reads a policy. An error names the line.
func parseRBACPolicy(text string) (*rbacPolicy, error) {
	p := &rbacPolicy{}
	var current *rbacEntry
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		var err error
		switch indented := strings.HasPrefix(line, "\t"); {
		case len(words) == 0, strings.HasPrefix(line, "#"):
		case !indented:
			p.add(current)
			current, err = newRBACEntry(words)
		case current == nil:
			err = fmt.Errorf("it belongs to nothing")
		default:
			err = current.read(words)
		}
		if err != nil {
			return nil, fmt.Errorf("policy, line %d: %q: %w", i+1, strings.TrimSpace(line), err)
		}
	}
	p.add(current)
	return p, nil
}

// NodeRules are what nodes may do: the rules of the role system:node.
func NodeRules() ([]rbacv1.PolicyRule, error) {
	policy, err := parseRBACPolicy(rbacPolicyText)
	if err != nil {
		return nil, err
	}
	for _, role := range policy.clusterRoles {
		if role.Name == "system:node" {
			return role.Rules, nil
		}
	}
	return nil, fmt.Errorf("the policy has no role system:node")
}

// rbacEntry is a role with its binding.
type rbacEntry struct {
	namespace, name string // without a namespace it is a ClusterRole
	labels          map[string]string
	gathers         *rbacv1.AggregationRule
	rules           []rbacv1.PolicyRule
	bound           bool
	binding         string // its name
	subjects        []rbacv1.Subject
}

func newRBACEntry(words []string) (*rbacEntry, error) {
	e := &rbacEntry{labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}}
	switch {
	case words[0] == "clusterrole" && len(words) == 2:
		e.name = words[1]
	case words[0] == "controller" && len(words) == 2:
		e.name = "system:controller:" + words[1]
		e.bind(rbacv1.ServiceAccountKind, words[1])
	case words[0] == "role" && len(words) == 3:
		e.namespace, e.name = words[1], words[2]
	default:
		return nil, fmt.Errorf("want clusterrole NAME, controller NAME or role NAMESPACE NAME")
	}
	e.binding = e.name
	return e, nil
}

// read takes in an indented line.
func (e *rbacEntry) read(words []string) error {
	switch line := strings.Join(words, " "); {
	case line == "events":
		e.rules = append(e.rules, rbacv1.PolicyRule{Verbs: []string{"create", "patch", "update"},
			APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}})
	case line == "for nobody":
		e.bound = true
	case strings.HasPrefix(line, "is part of ") && len(words) == 4:
		e.labels[aggregationLabel(words[3])] = "true"
	case words[0] == "gathers" && len(words) == 2:
		e.gathers = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregationLabel(words[1]): "true"}}}}
	case strings.HasPrefix(line, "bound as ") && len(words) == 3:
		e.binding = words[2]
	case words[0] == "for" && len(words) == 3:
		return e.readSubject(words[1], words[2])
	default:
		return e.readRule(words)
	}
	return nil
}

func aggregationLabel(role string) string {
	return "rbac.authorization.k8s.io/aggregate-to-" + role
}

func (e *rbacEntry) readSubject(kind, name string) error {
	switch kind {
	case "user":
		e.bind(rbacv1.UserKind, name)
	case "group":
		e.bind(rbacv1.GroupKind, name)
	case "account":
		e.bind(rbacv1.ServiceAccountKind, name)
	default:
		return fmt.Errorf("a subject is a user, group or account")
	}
	return nil
}

func (e *rbacEntry) bind(kind, name string) {
	s := rbacv1.Subject{Kind: kind, Name: name}
	if kind == rbacv1.ServiceAccountKind {
		s.Namespace = metav1.NamespaceSystem
	} else {
		s.APIGroup = rbacv1.GroupName
	}
	e.bound, e.subjects = true, append(e.subjects, s)
}

// readRule takes in VERBS RESOURCES [in GROUPS] [named NAMES], or VERBS paths PATH ...
func (e *rbacEntry) readRule(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("a rule has verbs and resources")
	}
	r := rbacv1.PolicyRule{Verbs: verbList(words[0])}
	if words[1] == "paths" {
		r.NonResourceURLs = words[2:]
		e.rules = append(e.rules, r)
		return nil
	}
	r.Resources, r.APIGroups = strings.Split(words[1], ","), []string{""}
	rest := words[2:]
	for ; len(rest) >= 2; rest = rest[2:] {
		switch list := strings.Split(rest[1], ","); rest[0] {
		case "in":
			for i := range list {
				if list[i] == "core" {
					list[i] = ""
				}
			}
			r.APIGroups = list
		case "named":
			r.ResourceNames = list
		default:
			return fmt.Errorf("%s means nothing here", rest[0])
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s means nothing here", rest[0])
	}
	e.rules = append(e.rules, r)
	return nil
}

func verbList(text string) []string {
	switch text {
	case "read":
		return []string{"get", "list", "watch"}
	case "write":
		return []string{"create", "delete", "deletecollection", "patch", "update"}
	}
	return strings.Split(text, ",")
}

// add makes objects of an entry.
func (p *rbacPolicy) add(e *rbacEntry) {
	if e == nil {
		return
	}
	meta := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: e.namespace, Name: name, Labels: labels,
			Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}
	}
	bindingLabels := map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: e.name}
	if e.namespace != "" {
		ref.Kind = "Role"
		p.roles = append(p.roles, &rbacv1.Role{ObjectMeta: meta(e.name, e.labels), Rules: e.rules})
		p.roleBindings = append(p.roleBindings, &rbacv1.RoleBinding{ObjectMeta: meta(e.binding, bindingLabels), RoleRef: ref, Subjects: e.subjects})
		return
	}
	p.clusterRoles = append(p.clusterRoles, &rbacv1.ClusterRole{ObjectMeta: meta(e.name, e.labels), Rules: e.rules, AggregationRule: e.gathers})
	if e.bound {
		p.clusterRoleBindings = append(p.clusterRoleBindings,
			&rbacv1.ClusterRoleBinding{ObjectMeta: meta(e.binding, bindingLabels), RoleRef: ref, Subjects: e.subjects})
	}
}
