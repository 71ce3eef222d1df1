// Command skew runs the scenario scripts by kubectl of other minor versions than knarr's own: those that stock kubectl of a
// user's machine may be. It builds each from its Go modules, once (minutes), and keeps it in the user's cache directory.
//
//	go run ./test/skew 1.32 1.33
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "skew:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, versions []string) error {
	if len(versions) == 0 {
		return errors.New("name minor versions of kubectl: 1.32 1.33")
	}
	var failed []string
	for _, version := range versions {
		kubectl, err := build(ctx, version)
		if err != nil {
			return fmt.Errorf("build kubectl %s: %w", version, err)
		}
		fmt.Println("kubectl", version+":")
		test := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "Scenarios", "./test")
		test.Env = append(os.Environ(), "KUBECTL="+kubectl)
		test.Stdout, test.Stderr = os.Stdout, os.Stderr
		if test.Run() != nil {
			failed = append(failed, version)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("scripts fail by kubectl %s", strings.Join(failed, ", "))
	}
	return ctx.Err()
}

// build makes kubectl of a minor version out of its newest modules, and returns where it is.
func build(ctx context.Context, version string) (string, error) {
	minor, ok := strings.CutPrefix(version, "1.")
	if _, err := strconv.Atoi(minor); err != nil || !ok {
		return "", fmt.Errorf("%q is no minor version such as 1.35", version)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "knarr", "kubectl-"+version)
	kubectl := filepath.Join(dir, "kubectl")
	if _, err := os.Stat(kubectl); err == nil {
		return kubectl, nil
	}
	module, err := newest(ctx, "k8s.io/kubectl", "v0."+minor)
	if err != nil {
		return "", err
	}
	main, err := os.ReadFile(filepath.Join("cmd", "kubectl", "main.go"))
	if err != nil {
		return "", fmt.Errorf("run it in the repository's top folder: %w", err)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "main.go"), main, 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module kubectl\n\ngo 1.24\n"), 0o644)); err != nil {
		return "", err
	}
	fmt.Println("building kubectl", module)
	get := []string{"get"}
	for _, name := range []string{"kubectl", "component-base", "cli-runtime", "client-go", "api", "apimachinery"} {
		get = append(get, "k8s.io/"+name+"@"+module)
	}
	release := "v1." + strings.TrimPrefix(module, "v0.")
	for _, args := range [][]string{get, {"mod", "tidy"},
		{"build", "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=" + release, "-o", kubectl, "."}} {
		step := exec.CommandContext(ctx, "go", args...)
		step.Dir, step.Stderr = dir, os.Stderr
		step.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
		if err := step.Run(); err != nil {
			return "", fmt.Errorf("go %s: %w", args[0], err)
		}
	}
	return kubectl, nil
}

// newest is the newest release of a module whose version begins so.
func newest(ctx context.Context, module, prefix string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module+"@"+prefix).Output()
	if err != nil {
		return "", fmt.Errorf("find %s %s: %w", module, prefix, err)
	}
	return strings.TrimSpace(string(out)), nil
}
