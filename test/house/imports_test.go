package house

import (
	"strconv"
	"strings"
	"testing"
)

// importRules say who may not import whom. Folders and import paths include what lies below them.
func importRules() []importRule {
	const (
		below     = "the table is below all who use it: it has to be readable without them"
		process   = "it knows the API only through client-go, as a separate process would, so that it can be one"
		etcdAlone = "only the API server talks to etcd"
		replaced  = "this is what knarr replaces: its own code for it is the point"
	)
	rules := []importRule{
		{"registry", ours("server", "auth", "admission", "controllers", "scheduler", "nodeagent"), below},
		{"auth", ours("server", "controllers", "scheduler", "nodeagent"), "authentication and authorization are asked by the server and read objects through an interface of their own"},
		{"admission", ours("server", "controllers", "scheduler", "nodeagent"), "admission is asked by the server and reads objects through an interface of its own"},
		{"server", ours("controllers", "scheduler", "nodeagent"), "the API server serves the other parts and does not know them"},
		{"", ours("cmd"), "cmd is wiring: nobody builds on it"},
		{"", []string{"k8s.io/kubernetes"}, replaced},
		{"", []string{"k8s.io/apiserver/pkg/server", "k8s.io/apiserver/pkg/registry", "k8s.io/apiserver/pkg/endpoints", "k8s.io/apiserver/pkg/storage"}, replaced},
		{"", []string{"github.com/stretchr/testify", "github.com/onsi/gomega", "github.com/golang/mock", "go.uber.org/mock"}, "tests are plain Go and go-cmp: a reader needs no second language"},
		{"registry", []string{"go.etcd.io/etcd/server"}, "the store works over a client: who embeds a server is for others to say"},
	}
	for _, part := range []string{"controllers", "scheduler", "nodeagent"} {
		others := ours("server", "registry", "auth", "admission", "controllers", "scheduler", "nodeagent")
		rules = append(rules, importRule{part, others, process}, importRule{part, []string{"go.etcd.io/etcd"}, etcdAlone})
	}
	return rules
}

// ciphers are leaves below what is replaced: bytes in, bytes out.
const ciphers = "k8s.io/apiserver/pkg/storage/value"

type importRule struct {
	from   string   // folder of this repository; empty means all
	to     []string // import paths
	reason string
}

func ours(folders ...string) []string {
	paths := make([]string, len(folders))
	for i, folder := range folders {
		paths[i] = module + "/" + folder
	}
	return paths
}

func TestImports(t *testing.T) {
	set, files := source(t)
	for _, file := range files {
		self := module + "/" + file.folder()
		for _, spec := range file.syntax.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range importRules() {
				if rule.forbids(file, path) && !sameRoom(self, path) {
					t.Errorf("%v: imports %s: %s", set.Position(spec.Pos()), path, rule.reason)
				}
			}
		}
	}
}

func (r importRule) forbids(file sourceFile, path string) bool {
	if r.from != "" && !under(file.folder(), r.from) || runsEtcd(file) && under(path, "go.etcd.io/etcd/server") {
		return false
	}
	for _, to := range r.to {
		if under(path, ciphers) {
			continue
		}
		if under(path, to) {
			return true
		}
	}
	return false
}

// runsEtcd reports whether the file is of the one package that embeds an etcd server, or a test that starts one.
func runsEtcd(file sourceFile) bool {
	return file.test() || under(file.folder(), "registry/store/embedded")
}

// sameRoom reports whether two packages lie below the same top folder.
func sameRoom(a, b string) bool {
	room := func(path string) string {
		rest, ok := strings.CutPrefix(path, module+"/")
		if !ok {
			return path
		}
		top, _, _ := strings.Cut(rest, "/")
		return top
	}
	return room(a) == room(b)
}
