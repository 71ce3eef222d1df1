package main

import (
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

//go:embed tests.tsv
var table string

// test is a conformance test.
type test struct {
	name  string
	needs []string // of a cluster; empty if API server, controllers and scheduler are enough
}

// need is something that tests need of a cluster.
type need struct {
	word, what string
	met        bool // by `knarr up` with simulated nodes
}

// needs are the words of tests.tsv, those that weigh most first: a test is told under the first one that is not met.
func needs() []need {
	return []need{
		{"crds", "custom resources", false},
		{"webhooks", "admission webhooks", false},
		{"policies", "admission policies", false},
		{"aggregation", "API aggregation", false},
		{"dns", "DNS in pods", false},
		{"service-network", "the service network", false},
		{"exec", "commands run in containers", false},
		{"logs", "what programs in containers write", false},
		{"program", "what programs in containers do", false},
		{"two-nodes", "two nodes", true},
		{"pods", "pods that run", true},
	}
}

// area is the special interest group that a test's name begins with: "apps" of "[sig-apps] Deployment ...".
func (t test) area() string {
	area, _, _ := strings.Cut(strings.TrimPrefix(t.name, "[sig-"), "]")
	return area
}

// lacking is the first of a test's needs that is not met.
func (t test) lacking() (need, bool) {
	for _, n := range needs() {
		if !n.met && slices.Contains(t.needs, n.word) {
			return n, true
		}
	}
	return need{}, false
}

// readTable reads lines of needs, separated by commas ("-" for none), a tab, and a test's name.
func readTable(text string) ([]test, error) {
	var all []test
	for line := range strings.Lines(text) {
		words, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || !strings.HasPrefix(name, "[sig-") {
			return nil, fmt.Errorf("tests.tsv: %q: want needs, a tab, and a name", line)
		}
		t := test{name: name}
		if words != "-" {
			t.needs = strings.Split(words, ",")
		}
		for _, word := range t.needs {
			if !slices.ContainsFunc(needs(), func(n need) bool { return n.word == word }) {
				return nil, fmt.Errorf("tests.tsv: %s: need %q is unknown", name, word)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// chosen are the names of the tests to run. A focus may also match tests of the suite that are none of conformance's, which
// the table does not know.
func chosen(all []test, o options) ([]string, error) {
	var names []string
	switch {
	case o.list != "":
		text, err := os.ReadFile(o.list)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				names = append(names, line)
			}
		}
	case o.focus != "":
		focus, err := regexp.Compile(o.focus)
		if err != nil {
			return nil, fmt.Errorf("-focus: %w", err)
		}
		for _, t := range all {
			if focus.MatchString(t.name) {
				names = append(names, t.name)
			}
		}
		return names, nil
	default:
		for _, t := range all {
			if _, lacks := t.lacking(); !lacks {
				names = append(names, t.name)
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no test is asked for")
	}
	return names, nil
}

// focusOf is the expression by which the suite finds the tests. It is matched within "suite name": a name cannot be anchored.
func focusOf(names []string, o options) string {
	if o.focus != "" {
		return o.focus
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return strings.Join(quoted, "|")
}
