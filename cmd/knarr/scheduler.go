package main

import (
	"context"
	"math/rand/v2"

	"k8s.io/utils/clock"

	"github.com/knarr-dev/knarr/scheduler"
)

// schedulerOptions are what the scheduler can be told, in `knarr up` too. The flags are upstream's.
type schedulerOptions struct{}

// run runs the scheduler for one term.
func (o *schedulerOptions) run(ctx context.Context, t *term) error {
	tell, end, err := t.voice.series(ctx)
	if err != nil {
		return err
	}
	defer end()
	return scheduler.New(&scheduler.Config{
		Client: t.client, Informers: t.informers, Clock: clock.RealClock{}, Random: rand.IntN, Log: t.log, EventsFor: tell,
	}).Run(ctx)
}
