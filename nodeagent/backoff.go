package nodeagent

import "time"

// Back-off of containers that end again and again, and of images that cannot be had, as upstream's.
const (
	firstBackoff = 10 * time.Second
	lastBackoff  = 300 * time.Second
)

// backoff is how long to wait before something is tried again. The first time is free; after a while without need (twice
// the longest wait) it begins anew.
type backoff struct {
	delay   time.Duration
	updated time.Time
}

// until is when to try again what ended or failed then.
func (b backoff) until(failed time.Time) time.Time {
	if b.delay == 0 || b.forgotten(failed) {
		return failed
	}
	return failed.Add(b.delay)
}

func (b backoff) forgotten(failed time.Time) bool { return failed.Sub(b.updated) > 2*lastBackoff }

// next is the back-off after one more try.
func (b backoff) next(failed, now time.Time) backoff {
	delay := firstBackoff
	if b.delay > 0 && !b.forgotten(failed) {
		delay = min(2*b.delay, lastBackoff)
	}
	return backoff{delay, now}
}
