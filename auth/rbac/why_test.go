package rbac

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/registry"
)

func TestWhatARuleLacks(t *testing.T) {
	deploy := with(asks("u"), func(a *registry.Attributes) {
		a.Verb, a.Group, a.Resource, a.Name = "update", "apps", "deployments", "web"
	})
	scale := with(deploy, func(a *registry.Attributes) { a.Subresource = "scale" })
	path := &registry.Attributes{Verb: "get", Path: "/healthz/etcd"}
	for name, c := range map[string]struct {
		rule rbacv1.PolicyRule
		asks *registry.Attributes
		want Lack
		far  bool
	}{
		"nothing":                         {can("update", "apps", "deployments"), deploy, "", false},
		"the verb":                        {can("get", "apps", "deployments"), deploy, LacksVerb, false},
		"the group":                       {can("update", "extensions", "deployments"), deploy, LacksGroup, false},
		"the name":                        {named(can("update", "apps", "deployments"), "api"), deploy, LacksName, false},
		"the resource":                    {can("update", "apps", "daemonsets"), deploy, LacksResource, false},
		"the sub-resource":                {can("update", "apps", "deployments"), scale, LacksSubresource, false},
		"the resource itself":             {can("update", "apps", "deployments/scale"), deploy, LacksSubresource, false},
		"two things":                      {can("get", "extensions", "deployments"), deploy, "", true},
		"a rule for paths":                {paths("get", "*"), deploy, "", true},
		"a path above":                    {paths("get", "/healthz"), path, LacksPath, false},
		"the method":                      {paths("post", "/healthz/*"), path, LacksVerb, false},
		"an unrelated path":               {paths("get", "/metrics"), path, "", true},
		"a rule for resources, of a path": {can("*", "*", "*"), path, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			q := ask(c.asks)
			lacks, near := compare(&c.rule, &q)
			if near == c.far || near && lacks != c.want {
				t.Errorf("lacks %q, near: %v", lacks, near)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	read, write := can("get", "", "pods"), can("delete", "", "pods")
	everything := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	p := policy(
		namespaceRole("shop", "reader", read), roleBinding("shop", "readers", "Role", "reader", user("u")),
		clusterRole("writer", write, can("create", "", "pods")), clusterRole("system:writer", write), clusterRole("cluster-admin", everything),
		roleBinding("dev", "writers", "ClusterRole", "writer", user("x"), group("g")),
		clusterBinding("lost", "nowhere", user("u")))
	asked := with(asks("u", "g"), func(a *registry.Attributes) { a.Namespace = "shop" })
	reader := Grant{Ref{"RoleBinding", "shop", "readers"}, `User "u"`, Ref{"Role", "shop", "reader"}, &read}
	if d := cmp.Diff(Account{Grants: []Grant{reader}}, p.Why(asked)); d != "" {
		t.Errorf("of what is allowed: %s", d)
	}
	asked.Verb = "delete"
	want := Account{
		Near: []Near{
			{reader, LacksVerb},
			{Grant{Ref{"RoleBinding", "dev", "writers"}, `Group "g"`, Ref{"ClusterRole", "", "writer"}, &write}, LacksNamespace},
			{Grant{Ref{"ClusterRoleBinding", "", "lost"}, `User "u"`, Ref{"ClusterRole", "", "nowhere"}, nil}, LacksRole},
		},
		Offers: []Offer{{Ref{"ClusterRole", "", "writer"}, &write, 2}},
	}
	got := p.Why(asked)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("of what is refused: %s", d)
	}
	remedies := []Remedy{
		{"all that clusterrole writer allows", []string{"kubectl create rolebinding u-delete-pods --clusterrole=writer --user=u -n shop"}},
		{"this alone", []string{"kubectl create role u-delete-pods --verb=delete --resource=pods -n shop",
			"kubectl create rolebinding u-delete-pods --role=u-delete-pods --user=u -n shop"}},
	}
	if d := cmp.Diff(remedies, Remedies(asked, got.Offers)); d != "" {
		t.Errorf("what would allow it: %s", d)
	}
}

func TestCommandsAreSafeToPaste(t *testing.T) {
	asked := with(asks("o'neil; rm -rf /"), func(a *registry.Attributes) { a.Verb = "*" })
	want := []string{"kubectl create clusterrole o-neil-rm-rf-pods --verb='*' --resource=pods",
		`kubectl create clusterrolebinding o-neil-rm-rf-pods --clusterrole=o-neil-rm-rf-pods --user='o'\''neil; rm -rf /'`}
	if d := cmp.Diff(want, Remedies(asked, nil)[0].Commands); d != "" {
		t.Error(d)
	}
}
