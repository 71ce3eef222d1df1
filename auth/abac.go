package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	sigsjson "sigs.k8s.io/json"

	"github.com/knarr-dev/knarr/registry"
)

// ABAC allows what a file's policies allow: a JSON object a line, which names a user or group and what it may do. Lines
// may be empty or comments (#). The file is read at the start only.
type ABAC []abacPolicy

// abacPolicy is the spec of a policy. A star stands for every user, group, API group, resource, namespace; at the end of
// a path for what follows.
type abacPolicy struct {
	User            string `json:"user"`
	Group           string `json:"group"`
	Readonly        bool   `json:"readonly"`
	APIGroup        string `json:"apiGroup"`
	Resource        string `json:"resource"`
	Namespace       string `json:"namespace"`
	NonResourcePath string `json:"nonResourcePath"`
}

const abacGroup = "abac.authorization.kubernetes.io/"

// ReadABAC reads a policy file. An error names file and line. Fields that mean nothing are logged: a policy may allow more
// than its writer meant.
func ReadABAC(path string, log *slog.Logger) (ABAC, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	policies := ABAC{}
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		policy, unknown, err := parseABAC(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		for _, u := range unknown {
			log.Warn("a field of an ABAC policy is ignored", "file", path, "line", i+1, "reason", u)
		}
		policies = append(policies, policy)
	}
	return policies, nil
}

// parseABAC reads a line: a Policy of v1beta1, or one of the time before there were versions, whose fields stand in the
// object itself and which leaves out what is meant to be all.
func parseABAC(line []byte) (policy abacPolicy, unknown []error, err error) {
	var form struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(line, &form); err != nil {
		return policy, nil, err
	}
	switch {
	case form.APIVersion == abacGroup+"v1beta1" && form.Kind == "Policy":
		var v1beta1 struct {
			APIVersion string     `json:"apiVersion"`
			Kind       string     `json:"kind"`
			Spec       abacPolicy `json:"spec"`
		}
		unknown, err = sigsjson.UnmarshalStrict(line, &v1beta1)
		return v1beta1.Spec.forAuthenticated(), unknown, err
	case form.APIVersion == "" && form.Kind == "", form.APIVersion == abacGroup+"v0" && form.Kind == "Policy":
		var v0 struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			User       string `json:"user"`
			Group      string `json:"group"`
			Readonly   bool   `json:"readonly"`
			Resource   string `json:"resource"`
			Namespace  string `json:"namespace"`
		}
		unknown, err = sigsjson.UnmarshalStrict(line, &v0)
		policy = abacPolicy{User: v0.User, Group: v0.Group, Readonly: v0.Readonly, Resource: v0.Resource, Namespace: v0.Namespace}
		return policy.completed().forAuthenticated(), unknown, err
	}
	return policy, nil, fmt.Errorf("%s %s is no policy: use kind Policy of %sv1beta1", form.APIVersion, form.Kind, abacGroup)
}

// completed fills in what an unversioned policy means by leaving it out: everything, and everybody who is known.
func (p abacPolicy) completed() abacPolicy {
	if p.User == "" && p.Group == "" {
		p.Group = authenticatedGroup
	}
	if p.Namespace == "" && p.Resource == "" {
		p.NonResourcePath = "*"
	}
	if p.Namespace == "" {
		p.Namespace = "*"
	}
	if p.Resource == "" {
		p.Resource = "*"
	}
	p.APIGroup = "*"
	return p
}

// forAuthenticated takes a star in place of a user or group for those who are known, which leaves anonymous users out.
func (p abacPolicy) forAuthenticated() abacPolicy {
	if p.User == "*" || p.Group == "*" {
		p.User, p.Group = "", authenticatedGroup
	}
	return p
}

// Authorize allows what one policy allows.
func (policies ABAC) Authorize(_ context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	for i := range policies {
		if policies[i].allows(a) {
			return registry.Allow, "", nil
		}
	}
	return registry.NoOpinion, "No policy matched.", nil
}

func (p *abacPolicy) allows(a *registry.Attributes) bool {
	reads := a.Verb == "get" || a.Verb == "list" || a.Verb == "watch"
	switch {
	case !p.isFor(&a.User) || p.Readonly && !reads:
		return false
	case a.ResourceRequest:
		return covers(p.Namespace, a.Namespace) && covers(p.Resource, a.Resource) && covers(p.APIGroup, a.Group)
	case p.NonResourcePath == a.Path:
		return true
	}
	return strings.HasSuffix(p.NonResourcePath, "*") && strings.HasPrefix(a.Path, strings.TrimRight(p.NonResourcePath, "*"))
}

func covers(pattern, value string) bool { return pattern == "*" || pattern == value }

// isFor tells whom the policy names: where it names both, the user has to be in the group.
func (p *abacPolicy) isFor(u *registry.User) bool {
	if p.User == "" && p.Group == "" {
		return false
	}
	return (p.User == "" || p.User == u.Name) && (p.Group == "" || slices.Contains(u.Groups, p.Group))
}

// Rules are the policies for a user, as far as they concern a namespace.
func (policies ABAC) Rules(_ context.Context, user registry.User, namespace string) (rules []rbacv1.PolicyRule, incomplete bool, err error) {
	for i := range policies {
		p := &policies[i]
		if !p.isFor(&user) || !covers(p.Namespace, namespace) {
			continue
		}
		verbs := []string{"*"}
		if p.Readonly {
			verbs = []string{"get", "list", "watch"}
		}
		if p.Resource != "" {
			rules = append(rules, rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{p.APIGroup}, Resources: []string{p.Resource}})
		}
		if p.NonResourcePath != "" {
			rules = append(rules, rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: []string{p.NonResourcePath}})
		}
	}
	return rules, false, nil
}
