package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func allTests(t *testing.T) []test {
	t.Helper()
	all, err := readTable(table)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTableHasEveryConformanceTestOnce(t *testing.T) {
	all, seen := allTests(t), map[string]bool{}
	for _, x := range all {
		if seen[x.name] {
			t.Errorf("%s is there twice", x.name)
		}
		seen[x.name] = true
		if !strings.Contains(x.name, "[Conformance]") {
			t.Errorf("%s is no conformance test", x.name)
		}
	}
	if len(all) != 446 {
		t.Errorf("%d tests: the suite of 1.36 has 446", len(all))
	}
	if n := count(all, func(x test) bool { return len(x.needs) == 0 }); n != 109 {
		t.Errorf("%d tests need neither nodes nor extensions: they are 109", n)
	}
}

// What the quick list names is run, and never left out for a need that is not met.
func TestQuickListIsOfTestsThatRun(t *testing.T) {
	runs, err := chosen(allTests(t), options{})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := chosen(nil, options{list: "quick.txt"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range quick {
		if !slices.Contains(runs, name) {
			t.Errorf("%s does not run when all do", name)
		}
	}
}

func TestTestsThatDidNotRunHaveNotPassed(t *testing.T) {
	s := summarize(map[string]bool{"a": true, "b": false}, []string{"a", "b", "c"}, time.Minute)
	if want := []string{"b", "c (did not run)"}; !slices.Equal(s.failed, want) || s.verdict() == nil {
		t.Errorf("failed %q, want %q (%v)", s.failed, want, s.verdict())
	}
	if s := summarize(nil, nil, time.Minute); s.verdict() == nil {
		t.Error("nothing ran, and all is well")
	}
	if s := summarize(map[string]bool{"a": true}, []string{"a"}, time.Minute); s.verdict() != nil {
		t.Error(s.verdict())
	}
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "junit.xml")
	const text = `<testsuites><testsuite>
		<testcase name="[SynchronizedBeforeSuite]" status="passed"/>
		<testcase name="[It] good" status="passed"/>
		<testcase name="[It] bad" status="failed"><failure type="failed"/></testcase>
		<testcase name="[It] late" status="timedout"/>
		<testcase name="[It] not asked for" status="skipped"/>
		<testcase name="[DeferCleanup (Each)]" status="failed"/>
	</testsuite></testsuites>`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"good": true, "bad": false, "late": false, "[DeferCleanup (Each)]": false}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, passed := range want {
		if was, ran := got[name]; !ran || was != passed {
			t.Errorf("%s: ran %t, passed %t; want %t", name, ran, was, passed)
		}
	}
}

// However the suite's output is cut into pieces, each test counts once.
func TestProgressCountsBullets(t *testing.T) {
	const text = "SS\u2022SSS\u2022\u2022\n----\n\u2022 [FAILED] [0.1 seconds]\nwhy\n----\nS\u2022 [5.000 seconds]\nS\u2022 [TIMEDOUT] [1 seconds]\n"
	for size := 1; size <= len(text); size++ {
		p := &progress{told: time.Now()}
		for piece := range slices.Chunk([]byte(text), size) {
			p.Write(piece)
		}
		if p.done != 6 || p.failed != 2 {
			t.Fatalf("in pieces of %d bytes: %d done, %d failed; want 6 and 2", size, p.done, p.failed)
		}
	}
}

func TestFocusIsOfWholeNames(t *testing.T) {
	if got, want := focusOf([]string{"a [b] (c)", "d.e"}, options{}), `a \[b\] \(c\)|d\.e`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The page tells of every test: in the counts if it has passed, else by name.
func TestPageTellsOfEveryTest(t *testing.T) {
	all := allTests(t)
	runs, err := chosen(all, options{})
	if err != nil {
		t.Fatal(err)
	}
	text := page(all, summary{passed: runs[1:], failed: runs[:1]})
	if want := fmt.Sprintf("**%d of %d tests pass.**", len(runs)-1, len(all)); !strings.Contains(text, want) {
		t.Errorf("it does not say %q", want)
	}
	for _, x := range all {
		passed := slices.Contains(runs[1:], x.name)
		if named := strings.Contains(text, "- "+x.name+"\n"); named == passed {
			t.Errorf("%s: named %t, passed %t", x.name, named, passed)
		}
	}
}
