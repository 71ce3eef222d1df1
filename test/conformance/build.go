package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// stamp makes the suite say which release it is of: it asks the cluster for the same.
const stamp = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3"

// programs are what is built of this module's requirements, with the go commands that do it.
func programs() map[string][]string {
	return map[string][]string{
		"e2e.test": {"test", "-c", "-vet=off", "-trimpath", "-ldflags", stamp, "k8s.io/kubernetes/test/e2e"},
		"ginkgo":   {"build", "-trimpath", "-ldflags", stamp, "github.com/onsi/ginkgo/v2/ginkgo"},
	}
}

// buildSuite builds the programs, unless they are there from another time, and returns their folder. The folder's name follows
// from all that they are made of, so what is there is never stale.
func buildSuite(ctx context.Context, module string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH, programs())
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	folder := filepath.Join(cache, "knarr", "conformance-"+hex.EncodeToString(sum.Sum(nil))[:16])
	for _, name := range []string{"ginkgo", "e2e.test"} {
		if err := build(ctx, module, filepath.Join(folder, name), programs()[name]); err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
	}
	return folder, nil
}

// build makes one program, under another name until it is whole.
func build(ctx context.Context, module, path string, command []string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	began, part := time.Now(), fmt.Sprintf("%s.%d", path, os.Getpid())
	fmt.Printf("building %s for this and later runs (some minutes, the first time)\n", filepath.Base(path))
	last := len(command) - 1
	c := exec.CommandContext(ctx, "go", append(append([]string{}, command[:last]...), "-o", part, command[last])...)
	c.Dir, c.Stdout, c.Stderr = module, os.Stderr, os.Stderr
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	defer os.Remove(part) // is not there if all went well
	if err := c.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(command[:2], " "), err)
	}
	fmt.Printf("built %s in %v\n", filepath.Base(path), time.Since(began).Round(time.Second))
	return os.Rename(part, path)
}
