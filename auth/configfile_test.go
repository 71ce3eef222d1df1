package auth

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type ship struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Name       string            `json:"name"`
	Oars       int               `json:"oars"`
	Afloat     bool              `json:"afloat"`
	Crew       []sailor          `json:"crew"`
	Labels     map[string]string `json:"labels"`
}

type sailor struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

func ships() ConfigKind[ship] {
	return ConfigKind[ship]{Kind: "Ship", Versions: []string{"harbour/v1", "harbour/v1beta1"},
		Default: func(s *ship) {
			if s.Oars == 0 {
				s.Oars = 8
			}
		},
		Validate: func(s *ship) (errs field.ErrorList) {
			for i, c := range s.Crew {
				if c.Name == "" {
					errs = append(errs, field.Required(field.NewPath("crew").Index(i).Child("name"), ""))
				}
			}
			return errs
		},
	}
}

func TestConfigurationFilesAreReadInEitherForm(t *testing.T) {
	want := ship{APIVersion: "harbour/v1", Kind: "Ship", Name: "3", Oars: 8, Afloat: true,
		Crew: []sailor{{"Leif", 30}, {"Ulf", 30}}, Labels: map[string]string{"a": "1\n2\n"}}
	for name, text := range map[string]string{
		"YAML": "apiVersion: harbour/v1\nkind: Ship\nname: '3'\nafloat: yes\ncrew:\n- &leif\n  name: Leif\n  age: 30\n- <<: *leif\n  name: Ulf\nlabels:\n  a: |\n    1\n    2\n",
		"JSON": `{"apiVersion": "harbour/v1", "kind": "Ship", "name": "3", "afloat": true,` + "\n" +
			`"crew": [{"name": "Leif", "age": 30}, {"name": "Ulf", "age": 30}], "labels": {"a": "1\n2\n"}}`,
	} {
		got, err := ships().Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestFaultsOfConfigurationFilesAreFound(t *testing.T) {
	const head = "apiVersion: harbour/v1\nkind: Ship\n"
	for name, c := range map[string]struct{ text, want string }{
		"an empty file":             {"", "f:1: the file is empty"},
		"no object":                 {"- 1\n", "f:1: the file holds no object"},
		"a second document":         {head + "---\n" + head, "f:3: the file holds a second document, or goes on after its end"},
		"bad YAML":                  {head + "name: [\n", "f:3: did not find expected node content"},
		"another kind":              {"apiVersion: harbour/v1\nkind: Boat\n", `f:2: kind is "Boat": this file has to hold a Ship`},
		"no kind":                   {"apiVersion: harbour/v1\n", `f:1: kind is "": this file has to hold a Ship`},
		"another version":           {"kind: Ship\n\napiVersion: harbour/v2\n", `f:3: apiVersion is "harbour/v2": use harbour/v1 or harbour/v1beta1 for kind Ship`},
		"an unknown field":          {head + "crew:\n- name: Leif\n- name: Ulf\n  rank: 1\n", `f:6: unknown field "crew[1].rank"`},
		"another case is unknown":   {head + "Name: x\n", `f:3: unknown field "Name"`},
		"a repeated field":          {head + "name: a\nname: b\n", `f:4: duplicate field "name"`},
		"a wrong type":              {head + "crew:\n- name: a\n  age: old\n", "f:5: json: cannot unmarshal string into Go struct field sailor.crew.age of type int"},
		"what is not valid":         {head + "crew:\n- age: 1\n\n- age: 3\n", "f:4: crew[0].name: Required value\nf:6: crew[1].name: Required value"},
		"an alias that holds many":  {head + "labels: &a {x: y}\ncrew: [*a]\n", `f:3: unknown field "crew[0].x"`},
		"a key that is no text":     {head + "labels: {[a]: b}\n", "f:3: a key has to be a text"},
		"all of them, by the lines": {head + "rank: 1\ncrew:\n- rank: 1\n", "f:3: unknown field \"rank\"\nf:5: unknown field \"crew[0].rank\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ships().Parse("f", []byte(c.text))
			if err == nil {
				t.Fatal("it is accepted")
			}
			if d := cmp.Diff(c.want, err.Error()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAliasesDoNotFillTheMemory(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: harbour/v1\nkind: Ship\na0: &a0 [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\n")
	for i := range 30 {
		b.WriteString(strings.NewReplacer("N", string(rune('b'+i)), "M", string(rune('a'+i))).Replace("N0: &N0 [*M0, *M0, *M0, *M0, *M0, *M0, *M0]\n"))
	}
	if _, err := ships().Parse("f", []byte(b.String())); err == nil {
		t.Error("it is accepted")
	}
}

func TestBrokenReloadKeepsTheOldAndSaysSoOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ship.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte("apiVersion: harbour/v1\nkind: Ship\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: first\n")
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		pki, err := Open(dir+"/pki", Names{}, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		file, err := OpenFile(path, ships().Parse)
		if err != nil {
			t.Fatal(err)
		}
		var retired []string
		file.OnReplace(func(s *ship) { retired = append(retired, s.Name) })
		pki.Watch(file)
		go pki.Run(t.Context())
		for _, step := range []struct {
			text, name string
			complaints int
		}{{"nme: second\n", "first", 1}, {"nme: second\n", "first", 1}, {"name: third\n", "third", 1}, {"kind: x\n", "third", 2}} {
			write(step.text)
			time.Sleep(3 * filePeriod)
			synctest.Wait()
			if got := file.Get().Name; got != step.name {
				t.Errorf("after %q it is %q", step.text, got)
			}
			if n := strings.Count(logged.String(), "level=ERROR"); n != step.complaints {
				t.Errorf("after %q: %d complaints: %s", step.text, n, logged.String())
			}
		}
		if d := cmp.Diff([]string{"first"}, retired); d != "" {
			t.Error(d)
		}
	})
}

func FuzzConfigurationFile(f *testing.F) {
	for _, seed := range []string{"", "a: &a [*a]", "apiVersion: harbour/v1\nkind: Ship\ncrew: [{age: x}]", "? [a]\n: b", "{<<: [a]}", "a: !!binary x", "\xff", "--- \n..."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ships().Parse("f", data)
		if (s == nil) == (err == nil) {
			t.Errorf("%v, %v", s, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("no line: %v", err)
		}
	})
}
