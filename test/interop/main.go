// Command interop puts parts of upstream's in the place of knarr's, and the other way round, and sees whether the cluster
// still works: kube-controller-manager and kube-scheduler 1.36.3 over knarr's API server, each alone and both, and knarr's
// controllers, scheduler and node over the real kube-apiserver.
//
// It builds upstream's programs (test/reference, minutes once), starts each combination on an empty directory, and goes through
// the same list of checks (checks.go). What does not come true within a minute has failed; the directory with the logs stays
// then.
//
// In the end it plays scenarios with upstream's controllers and scheduler and with knarr's side by side, and compares what is
// there in the end (compare.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/knarr-dev/knarr/test/upstream"
)

// cast is who plays which part.
type cast struct{ apiserver, controllers, scheduler string }

func casts() []cast {
	return []cast{
		{"knarr", "kube-controller-manager", "knarr"},
		{"knarr", "knarr", "kube-scheduler"},
		{"knarr", "kube-controller-manager", "kube-scheduler"},
		{"kube-apiserver", "knarr", "knarr"},
	}
}

func (c cast) String() string {
	return fmt.Sprintf("API server %s, controllers %s, scheduler %s", c.apiserver, c.controllers, c.scheduler)
}

func main() {
	only := flag.String("only", "", "run the casts whose names contain this")
	compared := flag.String("compare", "", "run no cast, but compare the scenarios whose names contain this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *only, *compared); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, compared string) error {
	top, err := upstream.Repository()
	if err != nil {
		return err
	}
	if err := upstream.Build(ctx, top); err != nil {
		return err
	}
	if compared != "" {
		return compare(ctx, top, compared)
	}
	var errs []error
	for _, c := range casts() {
		if !strings.Contains(c.String(), only) {
			continue
		}
		fmt.Println(c)
		errs = append(errs, play(ctx, top, c))
	}
	if only == "" {
		errs = append(errs, compare(ctx, top, ""))
	}
	return errors.Join(errs...)
}

// play starts a cast and goes through the checks.
func play(ctx context.Context, top string, c cast) (err error) {
	dir, err := os.MkdirTemp("", "knarr-interop-")
	if err != nil {
		return err
	}
	s := &stage{top: top, dir: dir, nodes: 1}
	defer func() {
		s.end()
		if err != nil {
			err = fmt.Errorf("%s: %w (the logs are in %s)", c, err, dir)
			return
		}
		os.RemoveAll(dir)
	}()
	if err := s.begin(ctx, c); err != nil {
		return err
	}
	client, err := s.admin()
	if err != nil {
		return err
	}
	var errs []error
	for _, check := range checks() {
		begin := time.Now()
		limited, end := context.WithTimeout(ctx, time.Minute)
		problem := check.of(limited, client)
		end()
		if problem == nil {
			problem = s.dead()
		}
		fmt.Printf("  %-5s %6.1f s  %s\n", map[bool]string{true: "ok", false: "FAIL"}[problem == nil], time.Since(begin).Seconds(), check.name)
		if problem != nil {
			fmt.Printf("        %v\n", problem)
			errs = append(errs, fmt.Errorf("%s: %w", check.name, problem))
		}
	}
	return errors.Join(errs...)
}
