package house

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	_, files := source(t)
	comments := map[string][]string{}
	for _, file := range files {
		if file.test() {
			continue
		}
		found := comments[file.folder()]
		if doc := file.syntax.Doc; doc != nil {
			found = append(found, doc.Text())
		}
		comments[file.folder()] = found
	}
	for folder, found := range comments {
		if len(found) != 1 {
			t.Errorf("%s: %d files have a package comment: one tells what the package owns", folder, len(found))
			continue
		}
		words := strings.Fields(found[0])
		if len(words) < 12 || words[0] != "Package" && words[0] != "Command" {
			t.Errorf("%s: the package comment says too little: %q", folder, found[0])
		}
		if len(words) > 3 && slices.Contains([]string{"contains", "provides", "implements"}, words[2]) {
			t.Errorf("%s: begin the package comment with what the package is or does, not with %q", folder, strings.Join(words[:4], " "))
		}
	}
}

func TestNothingHappensBeforeMain(t *testing.T) {
	set, files := source(t)
	for _, file := range files {
		for _, decl := range file.syntax.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%v: init(): registrations are rows of a table, and start-up is main's", set.Position(f.Pos()))
			}
		}
	}
}

// fixed are calls whose results cannot be changed, or are meant to be shared: they may be package variables.
func fixed() []string {
	return []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParseAddr", "netip.MustParsePrefix",
		"strings.NewReplacer", "template.Must", "resource.MustParse"}
}

func TestPackageVariablesDoNotChange(t *testing.T) {
	set, files := source(t)
	for _, file := range files {
		if file.generated() {
			continue
		}
		for _, decl := range file.syntax.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				if v := spec.(*ast.ValueSpec); !unchanging(file, group, v) {
					t.Errorf("%v: %s is a mutable package variable: hand it down, make it a function, or a constant", set.Position(v.Pos()), v.Names[0].Name)
				}
			}
		}
	}
}

// unchanging reports whether a package variable is one that may be: an assertion about types, an embedded file, an
// error, a compiled expression, a pool, a lock of what a process has only once, what the linker sets, or a flag of a
// command that is main alone.
func unchanging(file sourceFile, group *ast.GenDecl, v *ast.ValueSpec) bool {
	if v.Names[0].Name == "_" || embedded(group) || embeddedSpec(v) {
		return true
	}
	if v.Type != nil && dotted(v.Type) == "sync.Mutex" {
		return true
	}
	if file.syntax.Name.Name == "main" && v.Names[0].Name == "version" {
		return true
	}
	for _, value := range v.Values {
		switch value := value.(type) {
		case *ast.CallExpr:
			if !slices.Contains(fixed(), dotted(value.Fun)) {
				return false
			}
		case *ast.CompositeLit:
			if dotted(value.Type) != "sync.Pool" { // holds nothing that anybody could tell from something new
				return false
			}
		default:
			return false
		}
	}
	return len(v.Values) > 0
}

func embedded(group *ast.GenDecl) bool {
	return group.Doc != nil && directive(group.Doc)
}

func embeddedSpec(v *ast.ValueSpec) bool { return v.Doc != nil && directive(v.Doc) }

func directive(doc *ast.CommentGroup) bool {
	return slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// dotted is an expression of the form package.Name as text.
func dotted(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if p, ok := s.X.(*ast.Ident); ok {
			return p.Name + "." + s.Sel.Name
		}
	}
	return ""
}

func TestNamesSayWhatThingsAre(t *testing.T) {
	files := regexp.MustCompile(`^(utils?|helpers?|types|constants|interfaces|common|misc)\.go$|_(utils?|helpers?|types|constants)\.go$`)
	types := regexp.MustCompile(`(Manager|Helper|Utils?|Impl|Base|Factory|Provider)$`)
	set, all := source(t)
	for _, file := range all {
		if files.MatchString(path.Base(file.path)) {
			t.Errorf("%s: the name says what kind of code it is, not what it is about", file.path)
		}
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && types.MatchString(spec.Name.Name) {
				t.Errorf("%v: %s: name the thing, not its role in a pattern", set.Position(spec.Pos()), spec.Name.Name)
			}
			return true
		})
	}
}

func TestNothingIsPromised(t *testing.T) {
	promise := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	set, files := source(t)
	for _, file := range files {
		if file.folder() == "test/house" {
			continue
		}
		for _, group := range file.syntax.Comments {
			if word := promise.FindString(group.Text()); word != "" {
				t.Errorf("%v: %s: do it, or open an issue", set.Position(group.Pos()), word)
			}
		}
	}
}

func TestTestsAreNotSkipped(t *testing.T) {
	set, files := source(t)
	for _, file := range files {
		if !file.test() {
			continue
		}
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch name := dotted(call.Fun); name {
				case "t.Skip", "t.Skipf", "t.SkipNow", "b.Skip":
					t.Errorf("%v: %s: a test that does not run proves nothing", set.Position(n.Pos()), name)
				case "time.Sleep":
					if !insideBubble(file) {
						t.Errorf("%v: time.Sleep: wait for a condition, or run in a synctest bubble", set.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
}

// insideBubble reports whether the file's tests run on a clock of their own.
func insideBubble(file sourceFile) bool {
	return slices.ContainsFunc(file.syntax.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` })
}
