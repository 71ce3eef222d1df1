package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// measure runs one kind of server through everything.
func measure(ctx context.Context, top, kind string, s sizes) (results, error) {
	got := results{}
	dir, err := os.MkdirTemp("", "bench-"+kind+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	started, took, err := startServer(ctx, top, kind, dir)
	if err != nil {
		return nil, err
	}
	defer func() { started.kill() }()
	got.set("start, empty directory", took.Seconds())
	idle := started.settled(s)
	got.set("memory, idle", idle)
	l, err := newLoad(ctx, started, s, got)
	if err != nil {
		return nil, err
	}
	// Before the load: afterwards the heap has room that hides what watches take.
	if err := l.idleWatches(ctx); err != nil {
		return nil, err
	}
	if err := l.all(ctx); err != nil {
		return nil, err
	}
	_, peak := started.memory()
	got.set("memory, peak of the load", max(peak, l.peak))
	got.set("memory, after the load", started.settled(s))
	if err := l.decisions(ctx); err != nil {
		return nil, err
	}
	if s.restart == 0 {
		return got, nil
	}
	if err := l.fill(ctx, s.restart); err != nil {
		return nil, err
	}
	started.kill()
	again, took, err := startServer(ctx, top, kind, dir)
	if err != nil {
		return nil, fmt.Errorf("after kill -9: %w", err)
	}
	started = again
	got.set("start after kill -9", took.Seconds())
	return got, nil
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
