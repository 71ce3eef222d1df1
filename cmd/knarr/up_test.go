package main

import (
	"context"
	"slices"
	"testing"
)

func TestWhatStartedLastEndsFirst(t *testing.T) {
	var ended []string
	var s stack
	for _, name := range []string{"controllers", "scheduler", "nodes"} {
		s.start(t.Context(), func(ctx context.Context) {
			<-ctx.Done()
			ended = append(ended, name) // one after the other
		})
	}
	s.end()
	s.end() // again: nothing is left
	if !slices.Equal(ended, []string{"nodes", "scheduler", "controllers"}) {
		t.Errorf("they end as %v", ended)
	}
}

func TestAStackOutlivesWhatStartedIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var s stack
	running := make(chan context.Context, 1)
	s.start(ctx, func(ctx context.Context) {
		running <- ctx
		<-ctx.Done()
	})
	cancel()
	if own := <-running; own.Err() != nil {
		t.Error("a part ends before its turn")
	}
	s.end()
}
