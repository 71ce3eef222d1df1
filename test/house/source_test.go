package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/knarr-dev/knarr"

// root is the repository's top directory, seen from this package.
const root = "../.."

// sourceFile is a Go file of the main module.
type sourceFile struct {
	path   string // from the top: "registry/pod.go"
	syntax *ast.File
}

func (f sourceFile) folder() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func (f sourceFile) test() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f sourceFile) generated() bool { return ast.IsGenerated(f.syntax) }

// source parses all Go files of the main module, without those of modules below it.
func source(t *testing.T) (*token.FileSet, []sourceFile) {
	t.Helper()
	set := token.NewFileSet()
	var files []sourceFile
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata" || hasModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		short, err := filepath.Rel(root, path)
		files = append(files, sourceFile{filepath.ToSlash(short), syntax})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return set, files
}

func hasModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// under reports whether a package is the folder or lies below it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}
