package auth

import (
	"testing"

	"github.com/knarr-dev/knarr/registry"
)

func TestAuthorizationModes(t *testing.T) {
	master := registry.User{Name: "root", Groups: []string{mastersGroup}}
	alice := registry.User{Name: "alice", Groups: []string{authenticatedGroup}}
	nobody := registry.User{Name: anonymousUser, Groups: []string{unauthenticatedGroup}}
	path := func(u registry.User, verb, path string) registry.Attributes {
		return registry.Attributes{User: u, Verb: verb, Path: path}
	}
	resource := func(u registry.User, verb, group, name string) registry.Attributes {
		return registry.Attributes{User: u, Verb: verb, ResourceRequest: true, Group: group, Resource: name}
	}
	for name, c := range map[string]struct {
		modes []string
		asks  registry.Attributes
		want  registry.Decision
	}{
		"masters may do everything, whatever the modes": {[]string{"AlwaysDeny"}, resource(master, "delete", "", "nodes"), registry.Allow},
		"AlwaysDeny allows nobody else":                 {[]string{"AlwaysDeny"}, path(alice, "get", "/version"), registry.NoOpinion},
		"AlwaysAllow allows all":                        {[]string{"AlwaysAllow"}, resource(nobody, "delete", "", "nodes"), registry.Allow},
		"the first mode that allows is enough":          {[]string{"AlwaysDeny", "AlwaysAllow"}, resource(nobody, "get", "", "pods"), registry.Allow},
		"everybody sees whether the server is well":     {[]string{"Node", "RBAC"}, path(nobody, "get", "/readyz"), registry.Allow},
		"the parts of a health check are not public":    {[]string{"RBAC"}, path(nobody, "get", "/readyz/etcd"), registry.NoOpinion},
		"nobody may discover":                           {[]string{"RBAC"}, path(nobody, "get", "/apis"), registry.NoOpinion},
		"the authenticated may discover":                {[]string{"RBAC"}, path(alice, "get", "/apis/apps/v1"), registry.Allow},
		"they may read only":                            {[]string{"RBAC"}, path(alice, "post", "/apis"), registry.NoOpinion},
		"they may ask about themselves":                 {[]string{"RBAC"}, resource(alice, "create", "authorization.k8s.io", "selfsubjectaccessreviews"), registry.Allow},
		"they may not ask about others":                 {[]string{"RBAC"}, resource(alice, "create", "authorization.k8s.io", "subjectaccessreviews"), registry.NoOpinion},
		"they have no rights to objects":                {[]string{"RBAC"}, resource(alice, "get", "", "pods"), registry.NoOpinion},
	} {
		t.Run(name, func(t *testing.T) {
			authorizer, err := Authorization{Modes: c.modes}.Authorizer(t.Context())
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
