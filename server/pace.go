package server

import (
	"context"
	"sync"
	"time"
)

// A write to a stream costs much the same for one event as for twenty. So while streams write a lot, each of them holds
// its next write back a little, and the events of a burst go out together: the more writes there are, the longer, up to
// longestPause. An event after a quiet time is written at once, however many streams there are.
const (
	longestPause  = 15 * time.Millisecond
	pausePerWrite = longestPause / 200 // for each write of the latest longestPause
	leastPause    = time.Millisecond   // what is shorter is not worth a timer
	// manyEvents is a write that would not be cheaper for waiting: initial events, or somebody who catches up.
	manyEvents = 32
)

// beat counts the writes to all streams.
type beat struct {
	mu     sync.Mutex
	begun  time.Time // of the window that now is counted, longestPause long
	writes int       // in this window
	before int       // in the one before
}

// write counts a write and returns how long its stream should hold back the next.
func (b *beat) write(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch since := now.Sub(b.begun); {
	case since >= 2*longestPause:
		b.begun, b.before, b.writes = now, 0, 0
	case since >= longestPause:
		b.begun, b.before, b.writes = b.begun.Add(longestPause), b.writes, 0
	}
	b.writes++
	return min(time.Duration(max(b.writes, b.before))*pausePerWrite, longestPause)
}

// pace spaces the writes of one stream.
type pace struct {
	beat *beat
	due  time.Time // of the next write
}

// write notes that the stream writes so many events now.
func (p *pace) write(events int) {
	now := time.Now()
	if p.due = now; events < manyEvents {
		p.due = now.Add(p.beat.write(now))
	}
}

// hold waits until the next write is due.
func (p *pace) hold(ctx context.Context) error {
	rest := time.Until(p.due)
	if rest < leastPause {
		return nil
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
