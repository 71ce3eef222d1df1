package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// writePage writes docs/conformance.md from a run of all tests whose needs are met.
func writePage(path string, all []test, s summary) error {
	return os.WriteFile(path, []byte(page(all, s)), 0o644)
}

func page(all []test, s summary) string {
	var b strings.Builder
	passed := func(t test) bool { return slices.Contains(s.passed, t.name) }
	fmt.Fprintf(&b, `# Conformance

Made by `+"`make conformance`"+`, which runs the conformance suite of Kubernetes 1.36 ([e2e.test](https://github.com/kubernetes/kubernetes/tree/v1.36.3/test/e2e),
unchanged) against `+"`knarr up`"+` with two simulated nodes. **%d of %d tests pass.**

    make conformance                        # every test whose needs knarr meets; writes this page
    make conformance FOCUS='Job should'     # tests whose names match
    make conformance LIST=names.txt         # tests by name, one a line

A subset (`+"`test/conformance/quick.txt`"+`) is part of `+"`make test`"+`.

## By area

| area | tests | passed |
|---|---|---|
`, count(all, passed), len(all))
	for _, area := range areas(all) {
		of := func(t test) bool { return t.area() == area }
		fmt.Fprintf(&b, "| %s | %d | %d |\n", area, count(all, of), count(all, func(t test) bool { return of(t) && passed(t) }))
	}
	b.WriteString("\n## By what they need of a cluster\n\nA test is counted once, under the need that is hardest to meet.\n\n| need | tests | passed |\n|---|---|---|\n")
	bare := func(t test) bool { return len(t.needs) == 0 }
	row := func(what string, of func(test) bool) {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", what, count(all, of), count(all, func(t test) bool { return of(t) && passed(t) }))
	}
	row("API server, controllers and scheduler alone", bare)
	for _, n := range slices.Backward(needs()) {
		row(n.what, func(t test) bool { return hardest(t) == n.word })
	}
	b.WriteString(`
Pods on simulated nodes have no programs in them. The runtime follows a command that needs none (` + "`true`, `sleep 5`, `sh -c \"exit 1\"`" + `;
[nodes.md](nodes.md) says which), interprets shell scripts over files in memory, and answers other probes as a healthy program
would. It has every image, save two that ` + "`test/conformance/simulation.yaml`" + ` names, which are in no registry: two tests roll out
to them. So the tests that need pods pass because of what the scheduler, the controllers and the agent do about pods that
start, end and fail; those that look at what other programs have done, written or answered wait for nodes with containers.
`)
	if len(s.failed) > 0 {
		b.WriteString("\n## Not passed, though their needs are met\n\n")
		for _, name := range s.failed {
			fmt.Fprintf(&b, "- %s\n", name)
		}
	}
	b.WriteString("\n## Not run\n")
	for _, n := range needs() {
		var names []string
		for _, t := range all {
			if lacking, lacks := t.lacking(); lacks && lacking.word == n.word {
				names = append(names, t.name)
			}
		}
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### For want of %s: %d\n\n", n.what, len(names))
		for _, name := range names {
			fmt.Fprintf(&b, "- %s\n", name)
		}
	}
	return b.String()
}

// hardest is the first of a test's needs, in the order of the list of needs.
func hardest(t test) string {
	for _, n := range needs() {
		if slices.Contains(t.needs, n.word) {
			return n.word
		}
	}
	return ""
}

func areas(all []test) []string {
	var list []string
	for _, t := range all {
		if !slices.Contains(list, t.area()) {
			list = append(list, t.area())
		}
	}
	slices.Sort(list)
	return list
}

func count(all []test, of func(test) bool) int {
	n := 0
	for _, t := range all {
		if of(t) {
			n++
		}
	}
	return n
}
