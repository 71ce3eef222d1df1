package main

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/knarr-dev/knarr/server"
)

func TestARuleOfManyResourcesIsToldByTheOneAskedAbout(t *testing.T) {
	var ask server.WhyCanAnswer
	ask.Resource, ask.Subresource = "pods", "log"
	many := []string{"a", "b", "c", "d", "e", "pods", "pods/log"}
	for want, resources := range map[string][]string{
		"get pods/log and 6 others": many,
		"get a, b, c, d, e, pods":   many[:6],
		"get all resources":         {"*"},
	} {
		rule := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: resources}
		if got := ruleText(&rule, &ask); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
