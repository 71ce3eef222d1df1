// Command replay scores a Kubernetes API server by replaying recorded requests, and shows what was recorded.
//
//	replay score -server https://127.0.0.1:6443 -suite validation -file core_pods -v
//	replay show -suite defaults -file core_pods -case rich/create
//
// The server has to be started as the reference was: see package gold. Exit status 0 means that all cases reach the
// level, 1 that some do not, 2 that the server cannot be scored.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/knarr-dev/knarr/test/gold"
)

type options struct {
	server gold.Server
	in     string
	suite  string
	want   gold.Filter
	level  int
	jobs   int
	keep   bool
	print  bool
	json   string
}

func main() {
	if len(os.Args) < 2 || !slices.Contains([]string{"score", "show"}, os.Args[1]) {
		fmt.Fprintln(os.Stderr, "usage: replay score|show [flags]; replay score -h lists the flags")
		os.Exit(2)
	}
	o := parse(os.Args[1], os.Args[2:])
	files, err := gold.Load(strings.Split(o.in, ","), o.want)
	if err == nil && os.Args[1] == "show" {
		for _, f := range files {
			err = gold.Show(os.Stdout, f, o.want.Case)
		}
	}
	good := true
	if err == nil && os.Args[1] == "score" {
		good, err = o.score(files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

func parse(command string, args []string) *options {
	o := &options{}
	f := flag.NewFlagSet(command, flag.ExitOnError)
	f.StringVar(&o.in, "in", "test/gold/recorded", "directories of recordings, separated by commas")
	f.StringVar(&o.suite, "suite", "", "only these suites, separated by commas")
	f.StringVar(&o.want.File, "file", "", "only files whose SUITE/NAME contains this")
	f.StringVar(&o.want.Case, "case", "", "only cases whose id contains this (all of the file are sent)")
	f.StringVar(&o.server.URL, "server", "https://127.0.0.1:6443", "address of the server")
	f.StringVar(&o.server.Token, "token", "gold-admin-token", "bearer token of a user in system:masters")
	f.StringVar(&o.server.CAFile, "ca", "", "authorities of the server's certificate (default: it is not verified)")
	f.StringVar(&o.server.Tokens, "tokens", "", "file of the other users' tokens (default: tokens.csv beside the recordings)")
	f.DurationVar(&o.server.Timeout, "timeout", 15*time.Second, "time for a request")
	f.IntVar(&o.level, "level", 3, "level that counts as passed")
	f.IntVar(&o.jobs, "j", 4, "files at a time")
	f.BoolVar(&o.keep, "keep", false, "leave the objects")
	f.BoolVar(&o.print, "v", false, "print every failure")
	f.StringVar(&o.json, "json", "", "write scores and results to this file")
	f.Parse(args) // exits on errors
	if o.suite != "" {
		o.want.Suites = strings.Split(o.suite, ",")
	}
	if o.server.Tokens == "" {
		o.server.Tokens = filepath.Join(filepath.Dir(strings.Split(o.in, ",")[0]), "tokens.csv")
	}
	return o
}

// score reports whether all cases reach the level.
func (o *options) score(files []*gold.File) (bool, error) {
	start := time.Now()
	results, err := gold.Run(o.server, files, o.jobs, o.keep)
	if err != nil {
		return false, err
	}
	results = slices.DeleteFunc(results, func(r gold.Result) bool { return !strings.Contains(r.ID, o.want.Case) })
	if o.print {
		gold.PrintFailures(os.Stdout, results, o.level)
	}
	scores := gold.Scores(results)
	gold.PrintScores(os.Stdout, scores, time.Since(start))
	failed := len(slices.DeleteFunc(slices.Clone(results), func(r gold.Result) bool { return r.Level >= o.level }))
	fmt.Printf("%d passed, %d failed\n", len(results)-failed, failed)
	if o.json == "" {
		return failed == 0, nil
	}
	report, err := json.MarshalIndent(map[string]any{"summary": scores, "results": results}, "", " ")
	if err != nil {
		return false, err
	}
	return failed == 0, os.WriteFile(o.json, report, 0o644)
}
