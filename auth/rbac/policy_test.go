package rbac

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/registry"
)

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func namespaceRole(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
}

func roleBinding(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

// can makes a rule: verbs, group, resources, names, all lists with commas.
func can(verbs, group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verbs}, APIGroups: []string{group}, Resources: resources}
}

func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

func paths(verb string, urls ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: urls}
}

func policy(objects ...registry.Object) *Policy {
	p := New()
	for _, o := range objects {
		p.Change(nil, o)
	}
	return p
}

func asks(user string, groups ...string) *registry.Attributes {
	return &registry.Attributes{User: registry.User{Name: user, Groups: groups}, ResourceRequest: true, Verb: "get", Resource: "pods"}
}

func with(a *registry.Attributes, change func(*registry.Attributes)) *registry.Attributes {
	changed := *a
	change(&changed)
	return &changed
}

func TestRules(t *testing.T) {
	resource := func(verb, group, resource, subresource, name string) *registry.Attributes {
		return with(asks("u"), func(a *registry.Attributes) {
			a.Verb, a.Group, a.Resource, a.Subresource, a.Name = verb, group, resource, subresource, name
		})
	}
	path := func(verb, path string) *registry.Attributes {
		return &registry.Attributes{User: registry.User{Name: "u"}, Verb: verb, Path: path}
	}
	for name, c := range map[string]struct {
		rule rbacv1.PolicyRule
		asks *registry.Attributes
		want bool
	}{
		"verb, group and resource fit": {can("get", "", "pods"), resource("get", "", "pods", "", "p"), true},
		"another verb":                 {can("get", "", "pods"), resource("list", "", "pods", "", ""), false},
		"another group":                {can("get", "apps", "pods"), resource("get", "", "pods", "", "p"), false},
		"another resource":             {can("get", "", "pods"), resource("get", "", "secrets", "", "p"), false},
		"all verbs":                    {can("*", "", "pods"), resource("list", "", "pods", "", ""), true},
		"all groups":                   {can("get", "*", "pods"), resource("get", "apps", "pods", "", "p"), true},
		"all resources":                {can("get", "", "*"), resource("get", "", "secrets", "", "p"), true},
		"all resources means their sub-resources too":    {can("get", "", "*"), resource("get", "", "pods", "log", "p"), true},
		"a resource does not mean its sub-resources":     {can("get", "", "pods"), resource("get", "", "pods", "log", "p"), false},
		"a sub-resource by name":                         {can("get", "", "pods/log"), resource("get", "", "pods", "log", "p"), true},
		"a sub-resource is not its resource":             {can("get", "", "pods/log"), resource("get", "", "pods", "", "p"), false},
		"a sub-resource of any resource":                 {can("update", "apps", "*/scale"), resource("update", "apps", "deployments", "scale", "d"), true},
		"and no other sub-resource":                      {can("update", "apps", "*/scale"), resource("update", "apps", "deployments", "status", "d"), false},
		"all sub-resources of a resource cannot be said": {can("get", "", "pods/*"), resource("get", "", "pods", "log", "p"), false},
		"a resource that is asked for with a slash":      {can("get", "", "pods/log"), resource("get", "", "pods/log", "", "p"), true},
		"is no sub-resource of any":                      {can("get", "", "*/log"), resource("get", "", "pods/log", "", "p"), false},
		"a star asked for is a star granted":             {can("get", "", "*"), resource("get", "", "*", "", ""), true},
		"a star asked for is more than one resource":     {can("get", "", "pods"), resource("get", "", "*", "", ""), false},
		"a star is asked for as a sub-resource":          {can("get", "", "*/log"), resource("get", "", "*", "log", ""), true},
		"a named object":                                 {named(can("get", "", "pods"), "a", "b"), resource("get", "", "pods", "", "b"), true},
		"another object than the named":                  {named(can("get", "", "pods"), "a"), resource("get", "", "pods", "", "b"), false},
		"a named object cannot be listed without a name": {named(can("list", "", "pods"), "a"), resource("list", "", "pods", "", ""), false},
		"a named object can be listed by its name":       {named(can("list", "", "pods"), "a"), resource("list", "", "pods", "", "a"), true},
		"a path":                  {paths("get", "/healthz"), path("get", "/healthz"), true},
		"a longer path":           {paths("get", "/healthz"), path("get", "/healthz/etcd"), false},
		"what begins with a path": {paths("get", "/healthz/*"), path("get", "/healthz/etcd"), true},
		"a path that ends in a star is not its directory":          {paths("get", "/healthz/*"), path("get", "/healthz"), false},
		"a star within a path means itself":                        {paths("get", "/a/*/c"), path("get", "/a/b/c"), false},
		"all paths":                                                {paths("get", "*"), path("get", "/anything"), true},
		"another method":                                           {paths("get", "*"), path("post", "/anything"), false},
		"a rule for all resources says nothing of paths":           {can("*", "*", "*"), path("get", "/healthz"), false},
		"a rule for all paths says nothing of resources":           {paths("*", "*"), resource("get", "", "pods", "", "p"), false},
		"an empty verb is no verb":                                 {can("get", "", "pods"), resource("", "", "pods", "", "p"), false},
		"the core group is not all groups":                         {can("get", "", "deployments"), resource("get", "apps", "deployments", "", "d"), false},
		"a resource of a sub-resource's name is not granted by it": {can("get", "", "*/scale"), resource("get", "", "scale", "", "p"), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(clusterRole("r", c.rule), clusterBinding("b", "r", user("u")))
			got, _, err := p.Authorize(t.Context(), c.asks)
			if err != nil || (got == registry.Allow) != c.want {
				t.Errorf("decision %v, error %v", got, err)
			}
			if q := ask(c.asks); matches(&c.rule, &q) != c.want {
				t.Error("compared without the index it is otherwise")
			}
		})
	}
}

func TestWhoHasARole(t *testing.T) {
	read := can("get", "", "pods")
	in := func(namespace string, a *registry.Attributes) *registry.Attributes {
		return with(a, func(a *registry.Attributes) { a.Namespace = namespace })
	}
	everywhere := func(s ...rbacv1.Subject) []registry.Object {
		return []registry.Object{clusterRole("r", read), clusterBinding("b", "r", s...)}
	}
	inShop := func(s ...rbacv1.Subject) []registry.Object {
		return []registry.Object{namespaceRole("shop", "r", read), roleBinding("shop", "b", "Role", "r", s...)}
	}
	for name, c := range map[string]struct {
		objects []registry.Object
		asks    *registry.Attributes
		want    string // the reason; empty if it is refused
	}{
		"a user, everywhere":                          {everywhere(user("u")), in("shop", asks("u")), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`},
		"a group, everywhere":                         {everywhere(group("g")), asks("u", "a", "g"), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to Group "g"`},
		"an account, everywhere":                      {everywhere(account("n", "a")), asks("system:serviceaccount:n:a"), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to ServiceAccount "a/n"`},
		"an account of nowhere":                       {everywhere(account("", "a")), asks("system:serviceaccount::a"), ""},
		"a user in a namespace":                       {inShop(user("u")), in("shop", asks("u")), `RBAC: allowed by RoleBinding "b/shop" of Role "r" to User "u"`},
		"an account by default":                       {inShop(account("", "a")), in("shop", asks("system:serviceaccount:shop:a")), `RBAC: allowed by RoleBinding "b/shop" of Role "r" to ServiceAccount "a/shop"`},
		"an account of elsewhere":                     {inShop(account("n", "a")), in("shop", asks("system:serviceaccount:n:a")), `RBAC: allowed by RoleBinding "b/shop" of Role "r" to ServiceAccount "a/n"`},
		"the account's user name":                     {inShop(user("system:serviceaccount:n:a")), in("shop", asks("system:serviceaccount:n:a")), `RBAC: allowed by RoleBinding "b/shop" of Role "r" to User "system:serviceaccount:n:a"`},
		"not in another namespace":                    {inShop(user("u")), in("n", asks("u")), ""},
		"not everywhere":                              {inShop(user("u")), asks("u"), ""},
		"a user is not a group":                       {everywhere(user("g")), asks("u", "g"), ""},
		"a group is not a user":                       {everywhere(group("u")), asks("u"), ""},
		"the first subject that is the user is named": {everywhere(user("x"), group("g"), user("u")), asks("u", "g"), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to Group "g"`},
		"a ClusterRole in a namespace": {[]registry.Object{clusterRole("r", read), roleBinding("shop", "b", "ClusterRole", "r", user("u"))}, in("shop", asks("u")),
			`RBAC: allowed by RoleBinding "b/shop" of ClusterRole "r" to User "u"`},
		"a Role of another namespace is another": {[]registry.Object{namespaceRole("n", "r", read), roleBinding("shop", "b", "Role", "r", user("u"))}, in("shop", asks("u")), ""},
		"a binding that comes before its role":   {[]registry.Object{clusterBinding("b", "r", user("u")), clusterRole("r", read)}, asks("u"), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(c.objects...)
			for range 2 { // the second time the reason is at hand
				got, reason, err := p.Authorize(t.Context(), c.asks)
				if c.want == "" {
					if got != registry.NoOpinion {
						t.Errorf("decision %v: %s", got, reason)
					}
				} else if got != registry.Allow || reason != c.want || err != nil {
					t.Errorf("decision %v, %v\ngot  %s\nwant %s", got, err, reason, c.want)
				}
			}
		})
	}
}

func TestRefusalNamesRolesThatDoNotExist(t *testing.T) {
	p := policy(clusterBinding("a", "x", user("u")), roleBinding("shop", "b", "Role", "y", group("g")), roleBinding("shop", "c", "Role", "y", user("u")))
	for name, c := range map[string]struct{ namespace, want string }{
		"one":  {"", `RBAC: clusterrole.rbac.authorization.k8s.io "x" not found`},
		"more": {"shop", `RBAC: [clusterrole.rbac.authorization.k8s.io "x" not found, role.rbac.authorization.k8s.io "y" not found]`},
	} {
		t.Run(name, func(t *testing.T) {
			a := asks("u", "g")
			a.Namespace = c.namespace
			decision, reason, err := p.Authorize(t.Context(), a)
			if decision != registry.NoOpinion || err != nil {
				t.Errorf("decision %v, error %v", decision, err)
			}
			if d := cmp.Diff(c.want, reason); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := p.RoleRules(rbacv1.RoleRef{Kind: "Role", Name: "y"}, "shop"); !apierrors.IsNotFound(err) || err.Error() != `role.rbac.authorization.k8s.io "y" not found` {
		t.Errorf("rules of a role that does not exist: %v", err)
	}
}

func TestChangesHoldAtOnce(t *testing.T) {
	read, write := can("get", "", "pods"), can("update", "", "pods")
	p := New()
	expect := func(when, name string, want bool) {
		t.Helper()
		if got, _, _ := p.Authorize(t.Context(), asks(name)); (got == registry.Allow) != want {
			t.Errorf("%s: %s is allowed: %v", when, name, !want)
		}
	}
	r, b := clusterRole("r", read), clusterBinding("b", "r", user("u"), user("v"))
	p.Change(nil, r)
	expect("a role alone", "u", false)
	p.Change(nil, b)
	expect("bound", "u", true)
	fewer := clusterBinding("b", "r", user("v"))
	p.Change(b, fewer)
	expect("no longer a subject", "u", false)
	expect("still a subject", "v", true)
	changed := clusterRole("r", write)
	p.Change(r, changed)
	expect("the role has other rules", "v", false)
	p.Change(changed, r)
	expect("and these again", "v", true)
	p.Change(r, nil)
	expect("the role is gone", "v", false)
	p.Change(nil, r)
	expect("and there again", "v", true)
	other := clusterBinding("b", "other", user("v"))
	p.Change(nil, clusterRole("other"))
	p.Change(fewer, other)
	expect("the binding is for another role", "v", false)
	p.Change(other, fewer)
	p.Change(nil, clusterBinding("second", "r", user("v")))
	p.Change(fewer, nil)
	expect("one of two bindings is gone", "v", true)
	p.Change(clusterBinding("second", "r", user("v")), nil)
	expect("both are gone", "v", false)
	p.Change(r, nil)
	p.Change(clusterRole("other"), nil)
	if len(p.roles)+len(p.bindings) > 0 {
		t.Errorf("something is left: roles %v, bindings %v", p.roles, p.bindings)
	}
	for i := range p.holdings.shards {
		if shard := p.holdings.shards[i].Load(); shard != nil && len(*shard) > 0 {
			t.Errorf("somebody still has something: %v", *shard)
		}
	}
}

func TestTheLastOfManyBindingsCounts(t *testing.T) {
	p := policy(clusterRole("r", can("get", "", "pods")))
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprint("b", i)
		p.Change(nil, clusterBinding(names[i], "r", user("u")))
		p.Change(nil, clusterBinding(names[i], "r", user("u"), user("v"))) // the same again
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i, name := range names {
		for _, who := range []string{"u", "v"} {
			rules, _, _ := p.Rules(t.Context(), registry.User{Name: who}, "")
			if got, reason, _ := p.Authorize(t.Context(), asks(who)); got != registry.Allow || len(rules) != len(names)-i {
				t.Fatalf("%s, %d bindings gone: decision %v (%s), %d rules", who, i, got, reason, len(rules))
			}
		}
		p.Change(clusterBinding(name, "r"), nil)
	}
	if got, _, _ := p.Authorize(t.Context(), asks("u")); got == registry.Allow || len(p.given) > 0 {
		t.Errorf("all are gone: decision %v, left %v", got, p.given)
	}
}

func TestRulesOfAUserAreThoseOfEachBinding(t *testing.T) {
	read, write, all := can("get", "", "pods"), can("update", "", "pods"), can("*", "", "secrets")
	p := policy(clusterRole("r", read), clusterRole("w", write), namespaceRole("shop", "s", all),
		clusterBinding("b", "r", user("u"), group("g")), clusterBinding("c", "w", group("g")),
		roleBinding("shop", "d", "Role", "s", user("u")), roleBinding("shop", "e", "Role", "lost", user("u")))
	u := registry.User{Name: "u", Groups: []string{"g"}}
	rules, incomplete, err := p.Rules(t.Context(), u, "shop")
	if d := cmp.Diff([]rbacv1.PolicyRule{read, write, all}, rules); d != "" || incomplete {
		t.Error(d, incomplete)
	}
	if err == nil || err.Error() != `role.rbac.authorization.k8s.io "lost" not found` {
		t.Errorf("error %v", err)
	}
	if rules, _, err := p.Rules(t.Context(), u, ""); len(rules) != 2 || err != nil {
		t.Errorf("without a namespace: %v, error %v", rules, err)
	}
}

// TestAgainstOneByOne compares decisions while the policy grows, changes and shrinks with those of going through all
// bindings.
func TestAgainstOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	rule := func() rbacv1.PolicyRule {
		if random.IntN(5) == 0 {
			return paths(pick("get", "*"), pick("/a", "/a/*", "*"))
		}
		r := can(pick("get", "list", "*"), pick("", "apps", "*"), pick("pods", "pods/log", "*/log", "*"), pick("secrets", "pods"))
		if random.IntN(4) == 0 {
			r.ResourceNames = []string{pick("a", "b")}
		}
		return r
	}
	subject := func() rbacv1.Subject {
		switch random.IntN(3) {
		case 0:
			return user(pick("u", "v", "system:serviceaccount:n:a"))
		case 1:
			return group(pick("g", "h"))
		}
		return account(pick("n", "shop", ""), pick("a", "b"))
	}
	key := func(o registry.Object) string { return fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName()) }
	object := func() registry.Object {
		name, namespace := pick("x", "y", "z"), pick("n", "shop")
		switch random.IntN(4) {
		case 0:
			return clusterRole(name, rule(), rule())
		case 1:
			return namespaceRole(namespace, name, rule())
		case 2:
			return clusterBinding(name, pick("x", "y", "z"), subject(), subject())
		}
		return roleBinding(namespace, name, pick("Role", "ClusterRole"), pick("x", "y", "z"), subject(), subject())
	}
	p, there := New(), map[string]registry.Object{}
	for range 20_000 {
		o := object()
		old := there[key(o)]
		if random.IntN(3) == 0 && old != nil {
			p.Change(old, nil)
			delete(there, key(o))
		} else {
			p.Change(old, o)
			there[key(o)] = o
		}
		a := asks(pick("u", "v", "w", "system:serviceaccount:n:a", "system:serviceaccount:shop:b"), pick("g", "h", "i"))
		a.Verb, a.Group, a.Resource, a.Subresource, a.Name = pick("get", "list"), pick("", "apps"), pick("pods", "secrets"), pick("", "log"), pick("", "a")
		a.Namespace = pick("", "n", "shop")
		if random.IntN(5) == 0 {
			a = &registry.Attributes{User: a.User, Verb: "get", Path: pick("/a", "/a/b", "/c")}
		}
		got, reason, _ := p.Authorize(t.Context(), a)
		if want := oneByOne(there, a); (got == registry.Allow) != want {
			t.Fatalf("%+v: decision %v (%s), allowed one by one: %v", a, got, reason, want)
		}
	}
}

func oneByOne(objects map[string]registry.Object, a *registry.Attributes) bool {
	for _, o := range objects {
		b := bindingOf(o)
		if b == nil || b.namespace != "" && b.namespace != a.Namespace || b.subject(&a.User) < 0 {
			continue
		}
		for _, o := range objects {
			switch o.(type) {
			case *rbacv1.Role, *rbacv1.ClusterRole:
			default:
				continue
			}
			key, _ := keyOf(b.ref, b.namespace)
			q := ask(a)
			if key == (roleKey{o.GetNamespace(), o.GetName()}) && slices.ContainsFunc(rulesOf(o), func(r rbacv1.PolicyRule) bool { return matches(&r, &q) }) {
				return true
			}
		}
	}
	return false
}

// TestReadersAndWriters is for the race detector: a binding that stays is held through every change of others.
func TestReadersAndWriters(t *testing.T) {
	p := policy(clusterRole("r", can("get", "", "pods")), clusterBinding("stays", "r", user("u")))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			var old registry.Object
			for j := range 500 {
				now := clusterBinding(fmt.Sprint("b", i), "r", user("u"), user(fmt.Sprint("u", j)))
				p.Change(old, now)
				old = now
			}
		})
		all.Go(func() {
			for range 2000 {
				if got, _, _ := p.Authorize(t.Context(), asks("u")); got != registry.Allow {
					t.Error("not allowed for a moment")
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		p := policy(clusterRole("read", can("get", "", "pods", "services", "configmaps")), clusterRole("discovery", paths("get", "/api", "/apis/*")),
			clusterBinding("discovery", "discovery", group("system:authenticated")))
		for i := range n {
			namespace := fmt.Sprint("n", i%1000)
			p.Change(nil, roleBinding(namespace, fmt.Sprint("b", i), "ClusterRole", "read", user(fmt.Sprint("u", i)), group("everyone")))
		}
		p.Change(nil, roleBinding("n1", "mine", "ClusterRole", "read", user("alice")))
		a := asks("alice", "dev", "everyone", "system:authenticated")
		a.Namespace, a.Name = "n1", "p"
		for name, verb := range map[string]string{"allowed": "get", "refused": "delete"} {
			b.Run(fmt.Sprintf("%s among %d bindings", name, n), func(b *testing.B) {
				a.Verb = verb
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						p.Authorize(b.Context(), a)
					}
				})
			})
		}
	}
}
