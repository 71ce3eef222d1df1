package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTopLevelIsTheArchitecture(t *testing.T) {
	want := []string{"LICENSE", "Makefile", "README.md", "admission", "auth", "cmd", "controllers", "docs", "go.mod",
		"go.sum", "nodeagent", "registry", "scheduler", "server", "test"}
	list := exec.Command("git", "ls-files")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for path := range strings.FieldsSeq(string(out)) {
		top, _, _ := strings.Cut(path, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(got, top) {
			got = append(got, top)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLibrariesAreOfOneKubernetesRelease(t *testing.T) {
	staging := regexp.MustCompile(`(?m)^\s*(k8s\.io/[a-z-]+) (v\S+)`)
	otherwise := []string{"k8s.io/klog", "k8s.io/kube-openapi", "k8s.io/utils", "k8s.io/gengo"}
	file, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(file), "k8s.io/kubernetes ") {
		t.Error("go.mod requires k8s.io/kubernetes: knarr is written from scratch")
	}
	for _, m := range staging.FindAllStringSubmatch(string(file), -1) {
		if !slices.Contains(otherwise, m[1]) && !strings.HasPrefix(m[2], "v0.36.") {
			t.Errorf("%s is %s: the API served is 1.36's", m[1], m[2])
		}
	}
}
