package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
)

// The comparison plays scenarios (scenarios/*.txt) twice at the same time, once with upstream's controllers and scheduler and once with
// knarr's, each over an API server and nodes of knarr's, and each scenario in a namespace of its own. What is there in the end, objects
// and events, is told in lines without what chance has made (compare_tell.go): the lines must be the same.

// pairs are the casts that are compared: upstream's and knarr's.
func pairs() [2]cast {
	return [2]cast{{"knarr", "kube-controller-manager", "kube-scheduler"}, {"knarr", "knarr", "knarr"}}
}

// comparedNodes is how many nodes each cast has.
const comparedNodes = 3

// atOnce is how many scenarios are played at a time.
const atOnce = 12

// compare plays the scenarios whose names contain only.
func compare(ctx context.Context, top, only string) error {
	all, err := scenarios()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s scenario) bool { return !strings.Contains(s.name, only) })
	if len(all) == 0 {
		return fmt.Errorf("there is no scenario whose name contains %q", only)
	}
	klog.SetLogger(logr.Discard()) // informers have nothing to say that matters
	dir, err := os.MkdirTemp("", "knarr-compare-")
	if err != nil {
		return err
	}
	var both [2]*side
	for i, c := range pairs() {
		var end func()
		both[i], end, err = enter(ctx, top, dir, c)
		defer end()
		if err != nil {
			return fmt.Errorf("%s: %w (the logs are in %s)", c, err, dir)
		}
	}
	if err := playBoth(ctx, both, all); err != nil {
		return fmt.Errorf("%w (the logs are in %s)", err, dir)
	}
	os.RemoveAll(dir)
	return nil
}

// playBoth plays the scenarios on both sides, and says of each how they differ. One that differs is played again, and it is told how it
// differed: events get lost, and on a busy machine two things may happen in another order once, but not always.
func playBoth(ctx context.Context, both [2]*side, all []scenario) error {
	fmt.Println("scenarios that end in the same with upstream's parts and with knarr's")
	var mu sync.Mutex // guards errs and what is printed
	var errs []error
	var playing errgroup.Group
	playing.SetLimit(atOnce)
	for i, s := range all {
		playing.Go(func() error {
			begin, told := time.Now(), s.name
			different, err := difference(ctx, both, fmt.Sprintf("play-%d", i), s)
			if err != nil {
				told += fmt.Sprintf(", played twice: at first %v\n%s", err, different)
				different, err = difference(ctx, both, fmt.Sprintf("play-%d-again", i), s)
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("  %-5s %6.1f s  %s\n", map[bool]string{true: "ok", false: "FAIL"}[err == nil], time.Since(begin).Seconds(), strings.TrimSuffix(told, "\n"))
			if err != nil {
				fmt.Printf("        again %v\n%s", err, different)
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
			return nil
		})
	}
	playing.Wait() // what went wrong is in errs
	return errors.Join(errs...)
}

// difference plays a scenario on both sides, and tells what one has more often than the other. Of two that differ the slower one may
// not be at its end: on a busy machine a turn can take longer than is waited for elsewhere.
func difference(ctx context.Context, both [2]*side, namespace string, s scenario) (string, error) {
	var scripts [2]*script
	var errs [2]error
	var playing sync.WaitGroup
	for i, side := range both {
		playing.Go(func() {
			limited, end := context.WithTimeout(ctx, time.Minute)
			defer end()
			scripts[i] = &script{side: side, scenario: s, namespace: namespace}
			if err := scripts[i].play(limited); err != nil {
				errs[i] = fmt.Errorf("%s: %w", side.cast.controllers, err)
			}
		})
	}
	playing.Wait()
	var different string
	limited, end := context.WithTimeout(ctx, patience)
	defer end()
	until(limited, func() error { // what is different then is the result
		if err := errors.Join(scripts[0].settled(quiet), scripts[1].settled(quiet)); err != nil {
			return err
		}
		different = differing([2]map[string]int{scripts[0].tell(), scripts[1].tell()})
		if different == "" || scripts[0].settled(unchanging) == nil && scripts[1].settled(unchanging) == nil {
			return nil
		}
		return errors.New("they differ")
	})
	if different != "" {
		errs[1] = errors.Join(errs[1], errors.New("they differ (- upstream, + knarr)"))
	}
	return different, errors.Join(errs[0], errs[1], limited.Err())
}

const (
	// quiet is how long nothing changes in a namespace that has settled: both sides put some things off for a second. If nothing
	// has changed for as long as unchanging, nothing will.
	quiet      = 2500 * time.Millisecond
	unchanging = 8 * time.Second
	patience   = 40 * time.Second
)

// differing are the lines that one has more often than the other.
func differing(lines [2]map[string]int) string {
	var out strings.Builder
	for _, line := range slices.Sorted(maps.Keys(merged(lines))) {
		if theirs, ours := lines[0][line], lines[1][line]; theirs > ours {
			fmt.Fprintf(&out, "        - %s%s\n", line, times(theirs, ours))
		} else if ours > theirs {
			fmt.Fprintf(&out, "        + %s%s\n", line, times(ours, theirs))
		}
	}
	return out.String()
}

func merged(of [2]map[string]int) map[string]int {
	all := maps.Clone(of[0])
	if all == nil {
		all = map[string]int{}
	}
	maps.Copy(all, of[1])
	return all
}

// times says how often there is a line, if that is not once against never.
func times(n, other int) string {
	if n == 1 && other == 0 {
		return ""
	}
	return fmt.Sprintf("   (%d times, not %d)", n, other)
}
