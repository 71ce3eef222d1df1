package controllers

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesOfControllers(t *testing.T) {
	have := names(All())
	for _, name := range absent() {
		if slices.Contains(have, name) {
			t.Errorf("%s is in the table, and absent", name)
		}
	}
	for former, name := range formerNames() {
		if !slices.Contains(have, name) && !slices.Contains(absent(), name) {
			t.Errorf("%s was another name of %s, which nobody knows", former, name)
		}
	}
}

func TestChoiceOfControllers(t *testing.T) {
	chosen := func(choice ...string) []string {
		t.Helper()
		rows, err := (&Config{Controllers: choice}).chosen()
		if err != nil {
			t.Fatal(err)
		}
		return names(rows)
	}
	all := chosen("*")
	for _, c := range []struct {
		rule   string
		choice []string
		in     []string
		out    []string
	}{
		{"nothing said is all that are on", nil, all, []string{"token-cleaner-controller"}},
		{"one that is off is added", []string{"*", "token-cleaner-controller"}, append(slices.Clone(all), "token-cleaner-controller"), nil},
		{"by the name that it had", []string{"*", "bootstrapsigner", "tokencleaner"}, []string{"token-cleaner-controller", "bootstrap-signer-controller"}, nil},
		{"one is left out", []string{"*", "-deployment-controller"}, []string{"replicaset-controller"}, []string{"deployment-controller"}},
		{"by the name that it had", []string{"*", "-deployment"}, []string{"replicaset-controller"}, []string{"deployment-controller"}},
		{"those that are named, and no others", []string{"deployment"}, []string{"deployment-controller"}, []string{"replicaset-controller"}},
		{"no others than what there is not", []string{"-cloud-node-lifecycle-controller"}, nil, all},
		{"what there is not may be left out", []string{"*", "-cloud-node-lifecycle-controller"}, all, nil},
	} {
		got := chosen(c.choice...)
		for _, name := range c.in {
			if !slices.Contains(got, name) {
				t.Errorf("%s: %s is missing", c.rule, name)
			}
		}
		for _, name := range c.out {
			if slices.Contains(got, name) {
				t.Errorf("%s: %s is there", c.rule, name)
			}
		}
	}
	for choice, want := range map[string]string{"deploymnt": "is unknown", "-deploymnt": "is unknown", "attachdetach": "is not in knarr"} {
		if err := CheckNames([]string{choice}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", choice, err, want)
		}
	}
}
