package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAMissingClusterIsToldWhereOneIsNeeded(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	own := filepath.Join(home, "admin.kubeconfig")
	for _, c := range []struct {
		rule string
		args []string
		want bool
	}{
		{"objects are a server's", []string{"get", "pods"}, true},
		{"a command that asks no server", []string{"kustomize", "."}, false},
		{"the user names a server", []string{"get", "pods", "--server=https://10.0.0.1"}, false},
		{"the user names a kubeconfig", []string{"--kubeconfig", "x", "get", "pods"}, false},
		{"help", []string{"get", "--help"}, false},
	} {
		if got := lacksCluster(c.args, own); got != c.want {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if lacksCluster([]string{"get", "pods"}, own) {
		t.Error("the admin's kubeconfig is there: it is used")
	}
	if isWanted("admin.kubeconfig") {
		t.Error("whose file of that name lies in the working directory is not known")
	}
}
