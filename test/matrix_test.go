package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
	"github.com/knarr-dev/knarr/test/cluster"
)

// The matrix: who there is, what there is to ask. Its namespace has bindings of its own; its node has no pods.
const (
	matrixNamespace = "matrix"
	matrixNode      = "n1"
	matrixSample    = 5000 // questions of the matrix that are put to the server; all of them are put to the policy
)

// TestMatrixOfUsersAndRequests compares decisions with those of an evaluator that goes through roles and bindings one by
// one: for nobody, for a user of each bootstrap role, for a node and service accounts; on each resource and sub-resource of
// discovery and some paths; by each verb, in three places, with and without a name.
func TestMatrixOfUsersAndRequests(t *testing.T) {
	c := cluster.Start(t, "apiserver")
	client := clientset(t, c, formats()["protobuf"])
	users := bindMatrix(t, client)
	grants := readGrants(t, client)
	questions := matrixQuestions(t, client)
	var different, asked int
	var sample []registry.Attributes
	every := max(1, len(users)*len(questions)/matrixSample)
	random := rand.New(rand.NewPCG(3, 4))
	for _, u := range users {
		mine := grants.of(&u)
		for _, q := range questions {
			q.User = u
			asked++
			decision, reason, err := grants.policy.Authorize(t.Context(), &q)
			if want := mine.allow(&q); err != nil || (decision == registry.Allow) != want {
				if different++; different <= 10 {
					t.Errorf("%s: decision %v (%s), error %v; one by one it is %v", question(&q), decision, reason, err, want)
				}
			}
			if random.IntN(every) == 0 || u.Name == "system:node:"+matrixNode && random.IntN(every/10+1) == 0 {
				sample = append(sample, q)
			}
		}
	}
	t.Logf("%d users, %d questions: %d of %d decisions differ; %d are put to the server", len(users), len(questions), different, asked, len(sample))
	askServer(t, client, grants, sample)
}

// askServer puts questions to the server, as access reviews. Node's rules stand beside RBAC's there.
func askServer(t *testing.T, client *kubernetes.Clientset, grants *grantsOfAll, sample []registry.Attributes) {
	var mu sync.Mutex
	different := 0
	many(t, len(sample), func(i int) error {
		q := &sample[i]
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review(q), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		want := grants.of(&q.User).allow(q) || q.User.Name == "system:node:"+matrixNode && nodeMay(q, grants.node)
		mu.Lock()
		defer mu.Unlock()
		if answer.Status.Allowed != want {
			if different++; different <= 10 {
				t.Errorf("%s: the server says %v (%s), one by one it is %v", question(q), answer.Status.Allowed, answer.Status.Reason, want)
			}
		}
		return nil
	})
}

func review(q *registry.Attributes) *authorizationv1.SubjectAccessReview {
	r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: q.User.Name, Groups: q.User.Groups}}
	if !q.ResourceRequest {
		r.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Verb: q.Verb, Path: q.Path}
		return r
	}
	r.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: q.Verb, Group: q.Group, Resource: q.Resource,
		Subresource: q.Subresource, Namespace: q.Namespace, Name: q.Name}
	return r
}

func question(q *registry.Attributes) string {
	return fmt.Sprintf("may %s (%s) %s %q %s/%s %q in %q, path %q", q.User.Name, strings.Join(q.User.Groups, ", "), q.Verb, q.Group, q.Resource, q.Subresource, q.Name, q.Namespace, q.Path)
}

// bindMatrix binds each role that the cluster begins with to a user, everywhere and in the matrix's namespace, makes
// accounts with roles of their own, and returns all who ask.
func bindMatrix(t *testing.T, client *kubernetes.Clientset) []registry.User {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	users := []registry.User{
		{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}},
		{Name: "somebody", Groups: []string{"system:authenticated"}},
		{Name: "system:node:" + matrixNode, Groups: []string{"system:nodes", "system:authenticated"}},
	}
	add := func(name string) {
		users = append(users, registry.User{Name: name, Groups: []string{"system:authenticated"}})
	}
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: matrixNamespace}}, metav1.CreateOptions{})
	must(err)
	bind := func(namespace, name string, ref rbacv1.RoleRef, subject rbacv1.Subject) {
		t.Helper()
		ref.APIGroup = rbacv1.GroupName
		if namespace == "" {
			_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: []rbacv1.Subject{subject}}, metav1.CreateOptions{})
		} else {
			_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: []rbacv1.Subject{subject}}, metav1.CreateOptions{})
		}
		must(err)
	}
	clusterRoles, err := client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	must(err)
	for _, r := range clusterRoles.Items {
		ref := rbacv1.RoleRef{Kind: "ClusterRole", Name: r.Name}
		bind("", "everywhere:"+r.Name, ref, rbacv1.Subject{Kind: "User", Name: "everywhere:" + r.Name})
		bind(matrixNamespace, r.Name, ref, rbacv1.Subject{Kind: "User", Name: "here:" + r.Name})
		add("everywhere:" + r.Name)
		add("here:" + r.Name)
	}
	roles, err := client.RbacV1().Roles("").List(ctx, metav1.ListOptions{})
	must(err)
	for _, r := range roles.Items {
		bind(r.Namespace, "matrix:"+r.Name, rbacv1.RoleRef{Kind: "Role", Name: r.Name}, rbacv1.Subject{Kind: "User", Name: "role:" + r.Name})
		add("role:" + r.Name)
	}
	for name, rules := range matrixRoles() {
		_, err := client.RbacV1().Roles(matrixNamespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
		must(err)
		bind(matrixNamespace, name, rbacv1.RoleRef{Kind: "Role", Name: name}, rbacv1.Subject{Kind: "ServiceAccount", Name: name, Namespace: matrixNamespace})
		users = append(users, registry.User{Name: "system:serviceaccount:" + matrixNamespace + ":" + name,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + matrixNamespace, "system:authenticated"}})
	}
	bind(matrixNamespace, "all-accounts", rbacv1.RoleRef{Kind: "ClusterRole", Name: "system:kube-dns"}, rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:" + matrixNamespace})
	bind(matrixNamespace, "lost", rbacv1.RoleRef{Kind: "Role", Name: "nowhere"}, rbacv1.Subject{Kind: "Group", Name: "system:authenticated"})
	return users
}

// matrixRoles are those of the accounts, by name.
func matrixRoles() map[string][]rbacv1.PolicyRule {
	rule := func(verbs, groups, resources []string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources, ResourceNames: names}
	}
	type s = []string
	return map[string][]rbacv1.PolicyRule{
		"named":     {rule(s{"get", "update"}, s{""}, s{"configmaps", "secrets"}, matrixNode)},
		"scaler":    {rule(s{"get", "update"}, s{"*"}, s{"*/scale"})},
		"logs":      {rule(s{"get"}, s{""}, s{"pods", "pods/log"}), rule(s{"create"}, s{""}, s{"pods/exec"})},
		"owner":     {rule(s{"*"}, s{"*"}, s{"*"})},
		"reader":    {rule(s{"get", "list", "watch"}, s{"", "apps", "batch"}, s{"*"})},
		"sub-stars": {rule(s{"patch"}, s{"apps"}, s{"deployments/*"})},
		"nothing":   {},
	}
}

// matrixQuestions are all that the matrix asks of each user.
func matrixQuestions(t *testing.T, client *kubernetes.Clientset) []registry.Attributes {
	t.Helper()
	_, lists, err := client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	var all []registry.Attributes
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "impersonate", "approve", "sign", "use"}
	for _, list := range lists {
		group, _, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group = ""
		}
		for _, r := range list.APIResources {
			resource, sub, _ := strings.Cut(r.Name, "/")
			for _, verb := range verbs {
				for _, namespace := range []string{"", matrixNamespace, metav1.NamespaceSystem} {
					for _, name := range []string{"", matrixNode} {
						all = append(all, registry.Attributes{ResourceRequest: true, Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: namespace, Name: name})
					}
				}
			}
		}
	}
	for _, path := range []string{"/", "/api", "/api/", "/apis/apps/v1", "/healthz", "/healthz/etcd", "/livez", "/metrics", "/metrics/slis", "/openapi/v3", "/version", "/version/",
		"/logs", "/debug/pprof", "/.well-known/openid-configuration", "/openid/v1/jwks", "/knarr/v1/why/can"} {
		for _, verb := range []string{"get", "post", "put", "delete", "head"} {
			all = append(all, registry.Attributes{Verb: verb, Path: path})
		}
	}
	return all
}

// grantsOfAll are the cluster's roles and bindings as its clients read them, and the policy made of them.
type grantsOfAll struct {
	policy   *rbac.Policy
	rules    map[string][]rbacv1.PolicyRule // by kind, namespace and name of the role
	bindings []rbacv1.RoleBinding           // those for all namespaces are without one
	node     []rbacv1.PolicyRule
}

func readGrants(t *testing.T, client *kubernetes.Clientset) *grantsOfAll {
	t.Helper()
	g := &grantsOfAll{policy: rbac.New(), rules: map[string][]rbacv1.PolicyRule{}}
	ctx, api := t.Context(), client.RbacV1()
	clusterRoles, err1 := api.ClusterRoles().List(ctx, metav1.ListOptions{})
	roles, err2 := api.Roles("").List(ctx, metav1.ListOptions{})
	clusterBindings, err3 := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	bindings, err4 := api.RoleBindings("").List(ctx, metav1.ListOptions{})
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range clusterRoles.Items {
		r := &clusterRoles.Items[i]
		g.rules["ClusterRole//"+r.Name] = r.Rules
		g.policy.Change(nil, r)
	}
	for i := range roles.Items {
		r := &roles.Items[i]
		g.rules["Role/"+r.Namespace+"/"+r.Name] = r.Rules
		g.policy.Change(nil, r)
	}
	for i := range clusterBindings.Items {
		b := &clusterBindings.Items[i]
		g.bindings = append(g.bindings, rbacv1.RoleBinding{RoleRef: b.RoleRef, Subjects: b.Subjects})
		g.policy.Change(nil, b)
	}
	for i := range bindings.Items {
		g.bindings = append(g.bindings, bindings.Items[i])
		g.policy.Change(nil, &bindings.Items[i])
	}
	g.node = g.rules["ClusterRole//system:node"]
	return g
}

// held is a rule and where it holds; everywhere if that is empty.
type held struct {
	namespace string
	rule      rbacv1.PolicyRule
}

type heldRules []held

// of is all that a user has.
func (g *grantsOfAll) of(u *registry.User) heldRules {
	var all heldRules
	for _, b := range g.bindings {
		if !slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool {
			switch s.Kind {
			case "User":
				return s.Name == u.Name
			case "Group":
				return slices.Contains(u.Groups, s.Name)
			}
			return "system:serviceaccount:"+s.Namespace+":"+s.Name == u.Name
		}) {
			continue
		}
		key := b.RoleRef.Kind + "//" + b.RoleRef.Name
		if b.RoleRef.Kind == "Role" {
			key = "Role/" + b.Namespace + "/" + b.RoleRef.Name
		}
		for _, r := range g.rules[key] {
			all = append(all, held{b.Namespace, r})
		}
	}
	return all
}

func (h heldRules) allow(q *registry.Attributes) bool {
	return slices.ContainsFunc(h, func(one held) bool {
		return (one.namespace == "" || one.namespace == q.Namespace) && ruleAllows(one.rule, q)
	})
}

// ruleAllows is what the documentation of RBAC says of one rule.
func ruleAllows(r rbacv1.PolicyRule, q *registry.Attributes) bool {
	has := func(list []string, fits ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return s == "*" || slices.Contains(fits, s) })
	}
	if !has(r.Verbs, q.Verb) {
		return false
	}
	if !q.ResourceRequest {
		return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
			begin, open := strings.CutSuffix(url, "*")
			return url == q.Path || open && strings.HasPrefix(q.Path, begin)
		})
	}
	resources := []string{q.Resource}
	if q.Subresource != "" {
		resources = []string{q.Resource + "/" + q.Subresource, "*/" + q.Subresource}
	}
	return has(r.APIGroups, q.Group) && has(r.Resources, resources...) && (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, q.Name))
}

// nodeMay is what a node without pods may do: what its role says, but for what is another node's or another's.
func nodeMay(q *registry.Attributes, role []rbacv1.PolicyRule) bool {
	own := q.Name == matrixNode
	is := func(verbs ...string) bool { return slices.Contains(verbs, q.Verb) }
	switch q.Group + "/" + q.Resource {
	case "/secrets", "/configmaps", "/persistentvolumeclaims", "/persistentvolumes", "/serviceaccounts",
		"resource.k8s.io/resourceclaims", "storage.k8s.io/volumeattachments", "coordination.k8s.io/leases":
		return false // nothing of that is related to it; leases are in a namespace of their own
	case "storage.k8s.io/csinodes":
		return q.Subresource == "" && (is("create") || own && is("get", "update", "patch", "delete"))
	case "resource.k8s.io/resourceslices":
		return q.Subresource == "" && is("create")
	case "/nodes":
		return q.Subresource == "" && (is("create", "update", "patch") || own && is("get", "list", "watch")) || q.Subresource == "status" && is("update", "patch")
	case "/pods":
		return q.Subresource == "" && is("create", "delete") || q.Subresource == "status" && is("update", "patch") || q.Subresource == "eviction" && is("create")
	}
	return slices.ContainsFunc(role, func(r rbacv1.PolicyRule) bool { return ruleAllows(r, q) })
}
