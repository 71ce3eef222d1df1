// Package upstream builds kube-apiserver, kube-controller-manager and kube-scheduler 1.36.3 out of the module in test/reference,
// for the programs that measure knarr beside them or put them in the place of knarr's parts. Building takes minutes the first
// time, and seconds once Go's cache has it.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Repository is the top of the repository that the program runs in.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "reference", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("this is not inside the repository: run it there, by make")
}

// Build puts the three programs into the repository's bin. Whoever sets no GOFLAGS has two packages compiled at a time: these are
// big, and the machine may be small.
func Build(ctx context.Context, repository string) error {
	fmt.Fprintln(os.Stderr, "building kube-apiserver, kube-controller-manager and kube-scheduler (minutes, the first time)")
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(repository, "bin")+"/",
		"-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3", "k8s.io/kubernetes/cmd/kube-apiserver",
		"k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes/cmd/kube-scheduler")
	build.Dir = filepath.Join(repository, "test", "reference")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+cmp.Or(os.Getenv("GOFLAGS"), "-p=2"))
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return build.Run()
}
