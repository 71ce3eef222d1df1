package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/knarr-dev/knarr/registry"
)

// grants allow what they list, as "verb group/resource/subresource namespace/name", and note what they are asked.
type grants struct {
	allowed []string
	asked   []string
}

func (g *grants) Authorize(_ context.Context, a *registry.Attributes) (registry.Decision, string, error) {
	asked := fmt.Sprintf("%s %s/%s/%s %s/%s", a.Verb, a.Group, a.Resource, a.Subresource, a.Namespace, a.Name)
	g.asked = append(g.asked, asked)
	if slices.Contains(g.allowed, asked) {
		return registry.Allow, "", nil
	}
	return registry.NoOpinion, "", nil
}

func TestImpersonation(t *testing.T) {
	const masters, authn = "system:masters", "authentication.k8s.io"
	users := func(verb, name string) string { return verb + " " + authn + "/users/ /" + name }
	onList := func(mode string) string { return "impersonate-on:" + mode + ":list /pods/ ns/" }
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	podOn := func(node string) registry.User {
		return registry.User{Name: "system:serviceaccount:ns:agent", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {node}}}
	}
	for name, c := range map[string]struct {
		header  http.Header
		by      registry.User
		allowed []string
		want    *Impersonated
		refused string // verb, resource and name of the first refusal
		reason  string
	}{
		"without headers nobody is impersonated": {},
		"the old way": {header: header("Impersonate-User", "zed"), allowed: []string{"impersonate /users/ /zed"},
			want: &Impersonated{User: registry.User{Name: "zed", Groups: []string{authenticatedGroup}}}},
		"the old way asks for every group and extra": {
			header:  header("Impersonate-User", "zed", "Impersonate-Group", "g", "Impersonate-Uid", "7", "Impersonate-Extra-Acme.com%2Fproject", "p"),
			allowed: []string{"impersonate /users/ /zed", "impersonate /groups/ /g", "impersonate " + authn + "/uids/ /7", "impersonate " + authn + "/userextras/acme.com/project /p"},
			want:    &Impersonated{User: registry.User{Name: "zed", UID: "7", Groups: []string{"g", authenticatedGroup}, Extra: map[string][]string{"acme.com/project": {"p"}}}}},
		"a service account has its groups": {header: header("Impersonate-User", "system:serviceaccount:a:b"), allowed: []string{"impersonate /serviceaccounts/ a/b"},
			want: &Impersonated{User: registry.User{Name: "system:serviceaccount:a:b", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:a", authenticatedGroup}}}},
		"anonymous is not authenticated": {header: header("Impersonate-User", anonymousUser), allowed: []string{"impersonate /users/ /system:anonymous"},
			want: &Impersonated{User: registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}}},
		"who names system:unauthenticated stays so": {header: header("Impersonate-User", "zed", "Impersonate-Group", unauthenticatedGroup),
			allowed: []string{"impersonate /users/ /zed", "impersonate /groups/ /system:unauthenticated"},
			want:    &Impersonated{User: registry.User{Name: "zed", Groups: []string{unauthenticatedGroup}}}},
		"user-info takes both verbs": {header: header("Impersonate-User", "zed"), allowed: []string{onList("user-info"), users("impersonate:user-info", "zed")},
			want: &Impersonated{User: registry.User{Name: "zed", Groups: []string{authenticatedGroup}}, Constraint: "impersonate:user-info"}},
		"the verb on the request alone is not enough":           {header: header("Impersonate-User", "zed"), allowed: []string{onList("user-info")}, refused: "impersonate:user-info users zed"},
		"without any right the first mode's request is refused": {header: header("Impersonate-User", "zed"), refused: "impersonate-on:user-info:list pods "},
		"nobody becomes a master in a constrained mode": {header: header("Impersonate-User", "zed", "Impersonate-Group", masters),
			allowed: []string{onList("user-info"), users("impersonate:user-info", "zed"), "impersonate:user-info " + authn + "/groups/ /system:masters"},
			refused: "impersonate:user-info groups system:masters", reason: "impersonating the system:masters group is not allowed"},
		"many groups may be allowed at once": {header: header("Impersonate-User", "zed", "Impersonate-Group", "a", "Impersonate-Group", "b", "Impersonate-Group", "c", "Impersonate-Group", "d"),
			allowed: []string{onList("user-info"), users("impersonate:user-info", "zed"), "impersonate:user-info " + authn + "/groups/ /*"},
			want:    &Impersonated{User: registry.User{Name: "zed", Groups: []string{"a", "b", "c", "d", authenticatedGroup}}, Constraint: "impersonate:user-info"}},
		"a key of extra has to be well-formed in a constrained mode": {header: header("Impersonate-User", "zed", "Impersonate-Extra-A", ""),
			allowed: []string{onList("user-info"), users("impersonate:user-info", "zed")},
			refused: "impersonate:user-info userextras ",
			reason:  "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"a\": must be a domain-prefixed path (such as \"acme.io/foo\")"},
		"service accounts have a mode of their own": {header: header("Impersonate-User", "system:serviceaccount:a:b"),
			allowed: []string{onList("serviceaccount"), "impersonate:serviceaccount " + authn + "/serviceaccounts/ a/b"},
			want:    &Impersonated{User: registry.User{Name: "system:serviceaccount:a:b", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:a", authenticatedGroup}}, Constraint: "impersonate:serviceaccount"}},
		"with a group it is the old way's alone": {header: header("Impersonate-User", "system:serviceaccount:a:b", "Impersonate-Group", "g"),
			allowed: []string{onList("serviceaccount"), "impersonate:serviceaccount " + authn + "/serviceaccounts/ a/b"}, refused: "impersonate serviceaccounts b"},
		"a node has its group": {header: header("Impersonate-User", "system:node:n1"), allowed: []string{onList("arbitrary-node"), "impersonate:arbitrary-node " + authn + "/nodes/ /n1"},
			want: &Impersonated{User: registry.User{Name: "system:node:n1", Groups: []string{"system:nodes", authenticatedGroup}}, Constraint: "impersonate:arbitrary-node"}},
		"a pod may be allowed to be its node": {header: header("Impersonate-User", "system:node:n1"), by: podOn("n1"),
			allowed: []string{onList("associated-node"), "impersonate:associated-node " + authn + "/nodes/ /*"},
			want:    &Impersonated{User: registry.User{Name: "system:node:n1", Groups: []string{"system:nodes", authenticatedGroup}}, Constraint: "impersonate:associated-node"}},
		"and not another": {header: header("Impersonate-User", "system:node:n2"), by: podOn("n1"),
			allowed: []string{onList("associated-node"), "impersonate:associated-node " + authn + "/nodes/ /*"}, refused: "impersonate-on:arbitrary-node:list pods "},
	} {
		t.Run(name, func(t *testing.T) {
			if c.by.Name == "" {
				c.by.Name = "alice"
			}
			request := &registry.Attributes{User: c.by, Verb: "list", ResourceRequest: true, Resource: "pods", Namespace: "ns"}
			got, err := NewImpersonation(&grants{allowed: c.allowed}).As(t.Context(), c.header, request)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			var refused *Refusal
			if errors.As(err, &refused) != (c.refused != "") {
				t.Fatal(err)
			}
			if refused != nil {
				a := refused.Attributes
				if got := a.Verb + " " + a.Resource + " " + a.Name; got != c.refused || refused.Reason != c.reason {
					t.Errorf("refused: %q, %q", got, refused.Reason)
				}
			}
			if got != nil && impersonates(c.header) {
				t.Errorf("left in the request: %v", c.header)
			}
		})
	}
}

func TestImpersonationTriesFirstWhatSucceededLast(t *testing.T) {
	g := &grants{allowed: []string{"impersonate /users/ /zed"}}
	rules := NewImpersonation(g)
	as := func(user string) error {
		_, err := rules.As(t.Context(), http.Header{"Impersonate-User": {user}}, &registry.Attributes{User: registry.User{Name: "alice"}, Verb: "get", Path: "/x"})
		return err
	}
	if err := as("zed"); err != nil {
		t.Fatal(err)
	}
	g.asked = nil
	if err := as("zed"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"impersonate /users/ /zed"}, g.asked); d != "" {
		t.Error(d)
	}
	var refused *Refusal
	if err := as("other"); !errors.As(err, &refused) || refused.Attributes.Verb != "impersonate" {
		t.Errorf("refused with %v", err)
	}
}

func TestGroupsWithoutAUserAreABadRequest(t *testing.T) {
	_, err := NewImpersonation(&grants{}).As(t.Context(), http.Header{"Impersonate-Group": {"g"}}, &registry.Attributes{})
	want := `requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)} without impersonating a user name`
	if !apierrors.IsBadRequest(err) || err.Error() != want {
		t.Error(err)
	}
}
