package auth

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/knarr-dev/knarr/auth/rbac"
	"github.com/knarr-dev/knarr/registry"
)

// public lets everybody see whether the server is well.
func public() *rbac.Policy {
	p := rbac.New()
	p.Change(nil, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "public"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/readyz"}}}})
	p.Change(nil, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "public"},
		RoleRef:  rbacv1.RoleRef{Kind: "ClusterRole", Name: "public"},
		Subjects: []rbacv1.Subject{{Kind: "Group", Name: unauthenticatedGroup}}})
	return p
}

func TestAuthorizationModes(t *testing.T) {
	master := registry.User{Name: "root", Groups: []string{mastersGroup}}
	alice := registry.User{Name: "alice", Groups: []string{authenticatedGroup}}
	nobody := registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}
	path := func(u registry.User, verb, path string) *registry.Attributes {
		return &registry.Attributes{User: u, Verb: verb, Path: path}
	}
	resource := func(u registry.User, verb, group, name string) *registry.Attributes {
		return &registry.Attributes{User: u, Verb: verb, ResourceRequest: true, Group: group, Resource: name}
	}
	for name, c := range map[string]struct {
		modes []string
		asks  *registry.Attributes
		want  registry.Decision
	}{
		"masters may do everything, whatever the modes": {[]string{"AlwaysDeny"}, resource(master, "delete", "", "nodes"), registry.Allow},
		"AlwaysDeny allows nobody else":                 {[]string{"AlwaysDeny"}, path(alice, "get", "/version"), registry.NoOpinion},
		"AlwaysAllow allows all":                        {[]string{"AlwaysAllow"}, resource(nobody, "delete", "", "nodes"), registry.Allow},
		"the first mode that allows is enough":          {[]string{"AlwaysDeny", "AlwaysAllow"}, resource(nobody, "get", "", "pods"), registry.Allow},
		"everybody sees whether the server is well":     {[]string{"Node", "RBAC"}, path(nobody, "get", "/readyz"), registry.Allow},
		"what no role allows is allowed to nobody":      {[]string{"RBAC"}, path(nobody, "get", "/readyz/etcd"), registry.NoOpinion},
		"without the mode, roles allow nothing":         {[]string{"AlwaysDeny"}, path(nobody, "get", "/readyz"), registry.NoOpinion},
	} {
		t.Run(name, func(t *testing.T) {
			authorizer, err := Authorization{Modes: c.modes, Objects: followed{}, RBAC: public()}.Authorizer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := authorizer.Authorize(t.Context(), c.asks)
			if err != nil || got != c.want {
				t.Errorf("decision %v, error %v", got, err)
			}
		})
	}
}

func TestUnknownModeIsRefused(t *testing.T) {
	if _, err := (Authorization{Modes: []string{"Rbac"}}).Authorizer(t.Context()); err == nil {
		t.Error("accepted")
	}
}
