package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Most of knarr's memory is encoded objects, which the garbage collector need not look into. So collecting twice as often
// as Go does by itself costs little, and saves a quarter of the process's size.
const gcPercent = 50

// quietFor is how long no collection was needed before memory that a burst of work has left is given back.
const quietFor = 2 * time.Second

// keepSmall sets how memory is used, unless GOGC says otherwise, and gives back after each burst what it has left.
// Go itself returns memory over minutes.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	tick := time.NewTicker(quietFor)
	defer tick.Stop()
	for before, returned := collections(), uint64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := collections()
		if now == before && now != returned {
			debug.FreeOSMemory()
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
