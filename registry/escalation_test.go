package registry

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// grants is what the writer has, what there is to bind, and the one verb on roles that the writer is allowed.
type grants struct {
	has  []rbacv1.PolicyRule
	lost error
	role []rbacv1.PolicyRule
	verb string
}

func (g grants) Rules(context.Context, User, string) ([]rbacv1.PolicyRule, bool, error) {
	return g.has, false, g.lost
}

func (g grants) RoleRules(ref rbacv1.RoleRef, _ string) ([]rbacv1.PolicyRule, error) {
	if ref.Name != "there" {
		return nil, apierrors.NewNotFound(clusterRole().GroupResource(), ref.Name)
	}
	return g.role, nil
}

func (g grants) Authorize(_ context.Context, a *Attributes) (Decision, string, error) {
	if a.Verb == g.verb && a.Group == rbacv1.GroupName && a.ResourceRequest {
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}

func TestNobodyGrantsWhatHeDoesNotHave(t *testing.T) {
	rule := func(verb, resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names}
	}
	path := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}
	meta := metav1.ObjectMeta{Name: "mine"}
	role := func(rules ...rbacv1.PolicyRule) Object { return &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules} }
	gathering := &rbacv1.ClusterRole{ObjectMeta: meta, AggregationRule: &rbacv1.AggregationRule{
		ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}}
	binding := func(name string) Object {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}
	}
	held := binding("there").DeepCopyObject().(Object)
	held.SetFinalizers([]string{"example.org/held"})
	const denied = ` "mine" is forbidden: user "u" (groups=["g"]) is attempting to grant RBAC permissions not currently held:` + "\n"
	const roles, bindings = "clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"
	for name, c := range map[string]struct {
		grants   grants
		groups   []string
		obj, old Object
		want     string
	}{
		"a right that the writer has":        {grants: grants{has: []rbacv1.PolicyRule{rule("get", "pods")}}, obj: role(rule("get", "pods"))},
		"a part of a right that he has":      {grants: grants{has: []rbacv1.PolicyRule{rule("*", "*"), path}}, obj: role(rule("get", "pods", "p"), path)},
		"rights that he does not have":       {obj: role(rule("get", "pods"), path, rule("get", "nodes", "n"), rule("list", "pods")), want: roles + denied + `{APIGroups:[""], Resources:["nodes"], ResourceNames:["n"], Verbs:["get"]}` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}` + "\n" + `{NonResourceURLs:["/metrics"], Verbs:["get"]}`},
		"all objects, of which he has one":   {grants: grants{has: []rbacv1.PolicyRule{rule("get", "pods", "p")}}, obj: role(rule("get", "pods")), want: roles + denied + `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		"his roles could not all be read":    {grants: grants{lost: errors.New("lost")}, obj: role(path), want: roles + denied + `{NonResourceURLs:["/metrics"], Verbs:["get"]}; resolution errors: [lost]`},
		"he may escalate":                    {grants: grants{verb: "escalate"}, obj: role(rule("get", "pods"))},
		"system:masters may everything":      {groups: []string{"system:masters"}, obj: role(rule("get", "pods"))},
		"gathering roles wants everything":   {grants: grants{has: []rbacv1.PolicyRule{rule("*", "*")}}, obj: gathering, want: roles + ` "mine" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		"no longer gathering them as well":   {obj: role(), old: gathering, want: roles + ` "mine" is forbidden: must have cluster-admin privileges to use the aggregationRule`},
		"who may escalate may gather":        {grants: grants{verb: "escalate"}, obj: gathering},
		"a role whose rights he has":         {grants: grants{role: []rbacv1.PolicyRule{path}, has: []rbacv1.PolicyRule{path}}, obj: binding("there")},
		"a role whose rights he has not":     {grants: grants{role: []rbacv1.PolicyRule{path}}, obj: binding("there"), want: bindings + denied + `{NonResourceURLs:["/metrics"], Verbs:["get"]}`},
		"he may bind":                        {grants: grants{role: []rbacv1.PolicyRule{path}, verb: "bind"}, obj: binding("there")},
		"to escalate is not to bind":         {grants: grants{role: []rbacv1.PolicyRule{path}, verb: "escalate"}, obj: binding("there"), want: bindings + denied + `{NonResourceURLs:["/metrics"], Verbs:["get"]}`},
		"a role that does not exist":         {obj: binding("elsewhere"), want: bindings + ` "elsewhere" not found`},
		"a role without a name":              {obj: binding(""), want: "Name parameter required."},
		"a name that no role can have":       {obj: binding("a/b"), want: `Name parameter invalid: "a/b": may not contain '/'`},
		"only what garbage collection needs": {grants: grants{role: []rbacv1.PolicyRule{path}}, obj: binding("there"), old: held},
	} {
		t.Run(name, func(t *testing.T) {
			row := clusterRole()
			if _, ok := c.obj.(*rbacv1.ClusterRoleBinding); ok {
				row = clusterRoleBinding()
			}
			user := User{Name: "u", Groups: []string{"g"}}
			if c.groups != nil {
				user.Groups = c.groups
			}
			w := &Write{Resource: row, Registry: &Registry{Authorizer: c.grants, Roles: c.grants}, User: user}
			got := ""
			if err := w.Permit(t.Context(), nil, c.obj, c.old); err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
