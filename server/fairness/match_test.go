package fairness

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/knarr-dev/knarr/registry"
)

func TestRulesMatch(t *testing.T) {
	user := func(name string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "User", User: &flowcontrolv1.UserSubject{Name: name}}
	}
	group := func(name string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: name}}
	}
	account := func(namespace, name string) flowcontrolv1.Subject {
		return flowcontrolv1.Subject{Kind: "ServiceAccount", ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: namespace, Name: name}}
	}
	pods := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Namespaces: []string{"a"}}
	anywhere := pods
	anywhere.Namespaces = []string{"*"}
	nodes := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true}
	starAmongOthers := flowcontrolv1.ResourcePolicyRule{Verbs: []string{"get", "*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}}
	on := func(verb, namespace, resource, sub string) registry.Attributes {
		return registry.Attributes{ResourceRequest: true, Verb: verb, Namespace: namespace, Resource: resource, Subresource: sub}
	}
	path := func(p string) registry.Attributes { return registry.Attributes{Verb: "get", Path: p} }
	paths := func(p ...string) []flowcontrolv1.NonResourcePolicyRule {
		return []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: p}}
	}
	is := func(name string, groups ...string) registry.User { return registry.User{Name: name, Groups: groups} }
	resources := func(r ...flowcontrolv1.ResourcePolicyRule) []flowcontrolv1.ResourcePolicyRule { return r }
	for name, c := range map[string]struct {
		subject   flowcontrolv1.Subject
		resources []flowcontrolv1.ResourcePolicyRule
		paths     []flowcontrolv1.NonResourcePolicyRule
		user      registry.User
		request   registry.Attributes
		want      bool
	}{
		"the user":                               {user("u"), resources(pods), nil, is("u"), on("get", "a", "pods", ""), true},
		"another user":                           {user("u"), resources(pods), nil, is("v", "u"), on("get", "a", "pods", ""), false},
		"any user":                               {user("*"), resources(pods), nil, is("v"), on("get", "a", "pods", ""), true},
		"a group among others":                   {group("g"), resources(pods), nil, is("u", "f", "g"), on("get", "a", "pods", ""), true},
		"a user of a group's name":               {group("g"), resources(pods), nil, is("g"), on("get", "a", "pods", ""), false},
		"any group, for one without":             {group("*"), resources(pods), nil, is("u"), on("get", "a", "pods", ""), true},
		"a service account":                      {account("n", "s"), resources(pods), nil, is("system:serviceaccount:n:s"), on("get", "a", "pods", ""), true},
		"its namesake elsewhere":                 {account("n", "s"), resources(pods), nil, is("system:serviceaccount:m:s"), on("get", "a", "pods", ""), false},
		"all of a namespace":                     {account("n", "*"), resources(pods), nil, is("system:serviceaccount:n:t"), on("get", "a", "pods", ""), true},
		"a namespace that begins so":             {account("n", "*"), resources(pods), nil, is("system:serviceaccount:nn:t"), on("get", "a", "pods", ""), false},
		"a kind without its part":                {flowcontrolv1.Subject{Kind: "User"}, resources(pods), nil, is(""), on("get", "a", "pods", ""), false},
		"another verb":                           {user("u"), resources(pods), nil, is("u"), on("watch", "a", "pods", ""), false},
		"a sub-resource that is named":           {user("u"), resources(pods), nil, is("u"), on("get", "a", "pods", "log"), true},
		"one that is not":                        {user("u"), resources(pods), nil, is("u"), on("get", "a", "pods", "status"), false},
		"another namespace":                      {user("u"), resources(pods), nil, is("u"), on("get", "b", "pods", ""), false},
		"any namespace is not the cluster":       {user("u"), resources(anywhere), nil, is("u"), on("list", "", "pods", ""), false},
		"the cluster":                            {user("u"), resources(nodes), nil, is("u"), on("list", "", "nodes", ""), true},
		"the cluster is not any namespace":       {user("u"), resources(nodes), nil, is("u"), on("list", "a", "pods", ""), false},
		"a star among others is only a star":     {user("u"), resources(starAmongOthers), nil, is("u"), on("list", "a", "pods", ""), false},
		"a path":                                 {user("u"), nil, paths("/healthz"), is("u"), path("/healthz"), true},
		"what is below it":                       {user("u"), nil, paths("/healthz"), is("u"), path("/healthz/etcd"), true},
		"what begins so":                         {user("u"), nil, paths("/healthz"), is("u"), path("/healthzz"), false},
		"a star means what is below":             {user("u"), nil, paths("/api/*"), is("u"), path("/api/v1"), true},
		"and not the path itself":                {user("u"), nil, paths("/api/*"), is("u"), path("/api"), false},
		"all paths":                              {user("u"), nil, paths("*"), is("u"), path("/x"), true},
		"rules for resources say nothing of it":  {user("u"), resources(nodes), nil, is("u"), path("/x"), false},
		"rules for paths say nothing of objects": {user("u"), nil, paths("*"), is("u"), on("get", "", "nodes", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSchema(&flowcontrolv1.FlowSchema{Spec: flowcontrolv1.FlowSchemaSpec{Rules: []flowcontrolv1.PolicyRulesWithSubjects{
				{Subjects: []flowcontrolv1.Subject{c.subject}, ResourceRules: c.resources, NonResourceRules: c.paths}}}})
			c.request.User = c.user
			if got := s.matches(&c.request); got != c.want {
				t.Errorf("matches: %t, want %t", got, c.want)
			}
		})
	}
}

func TestSchemasAreAskedInOrder(t *testing.T) {
	g := gateOf(t, 100, newClock(), limited("l", 10),
		schemaFor("z", "l", "g", 100), schemaFor("b", "l", "g", 200), schemaFor("a", "l", "g", 200), schemaFor("lost", "nowhere", "g", 1))
	for _, c := range []struct {
		groups []string
		want   string
	}{
		{[]string{"g"}, "z"},
		{[]string{"g", "system:masters"}, "exempt"},
		{[]string{"system:authenticated"}, "catch-all"},
		{nil, "catch-all"}, // which matches nobody without a group; it is the fallback
	} {
		if got := g.Classify(by("u", c.groups...)).name; got != c.want {
			t.Errorf("%v: %s, want %s", c.groups, got, c.want)
		}
	}
	change(g, schemaFor("z", "l", "g", 100), nil)
	if got := g.Classify(by("u", "g")).name; got != "a" {
		t.Errorf("after z is gone: %s, want a", got)
	}
}

func TestHandsAreDifferentCardsOutOfAll(t *testing.T) {
	seen := map[[3]int]int{}
	for value := range uint64(10 * 9 * 8) {
		var h hand
		cards := [3]int(h.deal(value, 10, 3))
		seen[cards]++
		if cards[0] == cards[1] || cards[0] == cards[2] || cards[1] == cards[2] || max(cards[0], cards[1], cards[2]) > 9 {
			t.Errorf("%d: %v", value, cards)
		}
	}
	if len(seen) != 720 {
		t.Errorf("%d hands, want each of 720 once", len(seen))
	}
}
