package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// subject is a server that is measured.
type subject struct {
	sizes
	top, kind string
	dir       string
	server    *server
	load      *load
	got       results
}

// measure takes the servers through all steps. They take turns at each: what else the machine does at a time, and how
// fast its processors are then, strikes all of them alike.
func measure(ctx context.Context, top string, s sizes, all map[string]results) error {
	var subjects []*subject
	for _, kind := range slices.Backward(slices.Sorted(maps.Keys(all))) { // the reference goes first
		dir, err := os.MkdirTemp("", "bench-"+kind+"-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		one := &subject{sizes: s, top: top, kind: kind, dir: dir, got: all[kind]}
		defer one.stop()
		subjects = append(subjects, one)
	}
	for _, step := range []struct {
		name string
		take func(*subject, context.Context) error
	}{
		{"start", (*subject).start},
		{"idle", (*subject).idle},
		// Before the load: afterwards the heap has room that hides what watches take.
		{"idle watches", loaded((*load).idleWatches)},
		{"create", loaded((*load).create)},
		{"get", loaded((*load).get)},
		{"list", loaded((*load).list)},
		{"informers", loaded((*load).informerStarts)},
		{"watch", loaded((*load).watch)},
		{"patch", loaded((*load).patch)},
		{"delete", loaded((*load).delete)},
		{"memory after the load", (*subject).afterLoad},
		{"decisions", loaded((*load).decisions)},
		{"start after kill -9", (*subject).restart},
	} {
		for _, one := range subjects {
			fmt.Fprintf(os.Stderr, "%s: %s\n", step.name, one.kind)
			if err := step.take(one, ctx); err != nil {
				return fmt.Errorf("%s: %s: %w", one.kind, step.name, err)
			}
		}
	}
	return nil
}

// loaded is a phase of the load as a step. A request that fails ends the run.
func loaded(phase func(*load, context.Context) error) func(*subject, context.Context) error {
	return func(s *subject, ctx context.Context) error {
		if err := phase(s.load, ctx); err != nil {
			return err
		}
		return s.load.failures()
	}
}

func (s *subject) start(ctx context.Context) (err error) {
	var took time.Duration
	s.server, took, err = startServer(ctx, s.top, s.kind, s.dir)
	s.got.set("start, empty directory", took.Seconds())
	return err
}

func (s *subject) idle(ctx context.Context) (err error) {
	s.got.set("memory, idle", s.server.settled(s.sizes))
	s.load, err = newLoad(ctx, s.server, s.sizes, s.got)
	return err
}

func (s *subject) afterLoad(context.Context) error {
	_, peak := s.server.memory()
	s.got.set("memory, peak of the load", max(peak, s.load.peak))
	s.got.set("memory, after the load", s.server.settled(s.sizes))
	return nil
}

func (s *subject) restart(ctx context.Context) error {
	if s.sizes.restart == 0 {
		return nil
	}
	if err := s.load.fill(ctx, s.sizes.restart); err != nil {
		return err
	}
	s.stop()
	again, took, err := startServer(ctx, s.top, s.kind, s.dir)
	if err != nil {
		return err
	}
	s.server = again
	s.got.set("start after kill -9", took.Seconds())
	s.stop() // it is the last step, and the other server shall have the processors
	return nil
}

func (s *subject) stop() {
	if s.server != nil {
		s.server.kill()
		s.server = nil
	}
}

// set records a figure and tells how far the run is.
func (r results) set(name string, v float64) {
	r[name] = v
	fmt.Fprintf(os.Stderr, "  %-47s %.2f\n", name, v)
}

// settled is the resident memory after a while without load.
func (s *server) settled(z sizes) float64 {
	time.Sleep(time.Duration(z.settle) * time.Second)
	now, _ := s.memory()
	return now
}
