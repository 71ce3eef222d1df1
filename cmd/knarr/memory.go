package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Garbage is collected when what was allocated since the last time is gcPercent of what was live then, and at least
// leastRoom: between what collecting often costs (at 50 %, a fifth of the time that writing takes) and what collecting
// seldom lets a burst of work take. The room counts where little is live. The start, much of which is live for good, has
// startRoom: until it is quiet, or more has been allocated than a start does, for then there is work already.
// Where much is live, garbage has no more than mostRoom: what a burst took stays taken, for what is live lies between what
// is not, and Go moves nothing. Where so much is live that collecting would cost too much, it has largeGCPercent.
const (
	gcPercent      = 75
	largeGCPercent = 25
	startRoom      = 16 << 20
	startAllocates = 128 << 20
	leastRoom      = 96 << 20
	mostRoom       = 288 << 20
)

// When the start, and after it a burst of work, is over, the memory that it has left is given back: Go itself returns
// memory over minutes.
const (
	// quietFor is how long little has been allocated then: a part of the heap, so that a large one is not collected all
	// the time because its collections are seconds apart.
	quietFor  = time.Second
	quietPart = 50
	// regrown and regrownPart are how much has been allocated in quiet times, in bytes and as a part of the heap, when
	// memory is given back once more: it costs as much as the heap is large.
	regrown     = 20 << 20
	regrownPart = 6
)

// keepSmall sets how memory is used, unless GOGC says otherwise, and gives back what is not.
func keepSmall(ctx context.Context) {
	space := &room{}
	if os.Getenv("GOGC") == "" {
		space.least.Store(startRoom)
		space.keep()
	}
	tick := time.NewTicker(quietFor)
	defer tick.Stop()
	for before, allocated, returned, left := uint64(0), uint64(0), ^uint64(0), uint64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := measured("/gc/cycles/automatic:gc-cycles") // those that the growth of the heap has made necessary
		total, heap := measured(allAllocated), measured(heapObjects)
		quiet := now == before && total-allocated < max(regrown, heap/quietPart)
		if quiet && (now != returned || heap > left+max(regrown, left/regrownPart)) {
			runtime.GC() // what lies in pools is given up by the second collection only
			debug.FreeOSMemory()
			dropProgramPages()
			returned, left = now, measured(heapObjects)
			if space.startIsOver() {
				space.make()
			}
		}
		before, allocated = now, total
	}
}

// room is what garbage has.
type room struct{ least atomic.Uint64 } // in bytes

// startIsOver has more room made from now on, and reports whether that is new.
func (r *room) startIsOver() bool { return r.least.CompareAndSwap(startRoom, leastRoom) }

// keep makes room now and after each collection.
func (r *room) keep() {
	if measured(allAllocated) > startAllocates {
		r.startIsOver()
	}
	r.make()
	// The collector tells that it has been there by finding this.
	runtime.SetFinalizer(&[16]byte{}, func(*[16]byte) { r.keep() })
}

// make sets when garbage is collected next.
func (r *room) make() {
	percent := gcPercent
	if live := measured("/gc/heap/live:bytes"); live > 0 {
		percent = max(percent, int(r.least.Load()*100/live))
		percent = min(percent, max(largeGCPercent, int(mostRoom*100/live)))
	}
	debug.SetGCPercent(percent)
}

const (
	// heapObjects are the bytes of objects, live or not collected yet.
	heapObjects = "/memory/classes/heap/objects:bytes"
	// allAllocated are the bytes of all objects that there ever were.
	allAllocated = "/gc/heap/allocs:bytes"
)

// measured is one of the runtime's figures.
func measured(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
