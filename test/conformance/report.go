package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// summary is how a run ended.
type summary struct {
	passed, failed []string
	took           time.Duration
}

// readReport reads from a JUnit report which tests were run, and whether they passed.
func readReport(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	passed := map[string]bool{}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			name, isTest := strings.CutPrefix(c.Name, "[It] ") // others are the suite's own beginning and end
			switch {
			case c.Status == "skipped" || c.Status == "pending":
			case isTest:
				passed[name] = c.Status == "passed"
			case c.Status != "passed":
				passed[c.Name] = false
			}
		}
	}
	return passed, nil
}

// summarize sets results against what was asked for: a test that did not run has failed, and says so.
func summarize(results map[string]bool, wanted []string, took time.Duration) summary {
	s := summary{took: took}
	for name, passed := range results {
		if passed {
			s.passed = append(s.passed, name)
		} else {
			s.failed = append(s.failed, name)
		}
	}
	for _, name := range wanted {
		if _, ran := results[name]; !ran {
			s.failed = append(s.failed, name+" (did not run)")
		}
	}
	slices.Sort(s.passed)
	slices.Sort(s.failed)
	return s
}

func (s summary) print(w io.Writer) {
	fmt.Fprintf(w, "%d passed, %d failed, in %v\n", len(s.passed), len(s.failed), s.took.Round(time.Second))
	for _, name := range s.failed {
		fmt.Fprintf(w, "  %s\n", name)
	}
}

// verdict is an error unless tests were run, and all passed.
func (s summary) verdict() error {
	switch {
	case len(s.failed) > 0:
		return fmt.Errorf("%d of %d tests failed", len(s.failed), len(s.failed)+len(s.passed))
	case len(s.passed) == 0:
		return fmt.Errorf("no test ran")
	}
	return nil
}
