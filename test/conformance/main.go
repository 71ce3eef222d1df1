// Command conformance runs the conformance suite of Kubernetes against a cluster that it starts with `knarr up`, and says
// what passed.
//
// The suite is a program of upstream's, e2e.test: it is built here, from the module k8s.io/kubernetes, and kept for the next
// time in the user's cache folder. It runs in several processes at once; each reports the tests that it has done, so that
// progress is seen. What counts in the end is the suite's JUnit report, compared with the tests that were asked for: one
// that was not run has not passed.
//
// tests.tsv has every conformance test with what it needs of a cluster (table.go says what the words mean). Without -focus
// and -list, all tests run whose needs knarr meets, and docs/conformance.md is written anew.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	root  string // of the repository
	focus string // regular expression of names; empty for all
	list  string // file of names, one a line; empty for all
	procs int    // processes that run tests
	nodes int    // simulated nodes
	port  int    // of the API server; 0 for a free one
	out   string // folder for what is written: log, report; empty for a new one
	only  bool   // build the suite, and no more
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the repository")
	flag.StringVar(&o.focus, "focus", "", "run the tests whose names match this regular expression")
	flag.StringVar(&o.list, "list", "", "run the tests that this file names, one a line")
	flag.IntVar(&o.procs, "procs", min(12, 3*runtime.NumCPU()), "how many processes run tests at once")
	flag.IntVar(&o.nodes, "nodes", 2, "how many simulated nodes the cluster has")
	flag.IntVar(&o.port, "port", 0, "port of the API server; 0 is a free one")
	flag.StringVar(&o.out, "out", "", "folder for the logs and the JUnit report; a new one if it is empty")
	flag.BoolVar(&o.only, "build", false, "build the suite, and run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	all, err := readTable(table)
	if err != nil {
		return err
	}
	wanted, err := chosen(all, o)
	if err != nil {
		return err
	}
	if o.out == "" {
		if o.out, err = os.MkdirTemp("", "knarr-conformance-"); err != nil {
			return err
		}
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	bin, err := buildSuite(ctx, filepath.Join(o.root, "test", "conformance"))
	if err != nil || o.only {
		return err
	}
	fmt.Printf("logs and JUnit report: %s\n", o.out)
	knarr, err := startCluster(ctx, o)
	if err != nil {
		return err
	}
	defer knarr.stop()
	began := time.Now()
	ended := runSuite(ctx, bin, knarr, focusOf(wanted, o), len(wanted), o)
	results, err := readReport(filepath.Join(o.out, "junit_01.xml"))
	if err != nil {
		return fmt.Errorf("the suite left no report (%w): %w; see %s", err, cmp.Or(ended, context.Cause(ctx)), filepath.Join(o.out, "suite.log"))
	}
	s := summarize(results, wanted, time.Since(began))
	s.print(os.Stdout)
	if o.focus == "" && o.list == "" && ctx.Err() == nil {
		if err := writePage(filepath.Join(o.root, "docs", "conformance.md"), all, s); err != nil {
			return err
		}
	}
	return s.verdict()
}
