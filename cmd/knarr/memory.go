package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcPercent is between what collecting often costs (at 50, a fifth of the time that writing takes) and what collecting
// seldom lets a burst of work take.
const gcPercent = 75

// quietFor is how long no collection was needed before memory that a burst of work has left is given back.
const quietFor = time.Second

// keepSmall sets how memory is used, unless GOGC says otherwise, and gives back what the start, and after it each burst
// of work, has left. Go itself returns memory over minutes.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	tick := time.NewTicker(quietFor)
	defer tick.Stop()
	for before, returned := collections(), ^uint64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := collections()
		if now == before && now != returned {
			runtime.GC() // what lies in pools is given up by the second collection only
			debug.FreeOSMemory()
			dropProgramPages()
			returned = now
		}
		before = now
	}
}

// collections counts those that the growth of the heap has made necessary.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/automatic:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
