package chaos

import (
	"time"

	"k8s.io/utils/clock"
)

// fast is a clock that goes so many times as fast as others: grace periods of minutes pass in seconds.
type fast struct {
	clock.RealClock
	begun time.Time
	times time.Duration
}

func faster(times int) fast { return fast{begun: time.Now(), times: time.Duration(times)} }

func (f fast) Now() time.Time                         { return f.begun.Add(time.Since(f.begun) * f.times) }
func (f fast) Since(t time.Time) time.Duration        { return f.Now().Sub(t) }
func (f fast) After(d time.Duration) <-chan time.Time { return f.RealClock.After(d / f.times) }
func (f fast) NewTimer(d time.Duration) clock.Timer   { return f.RealClock.NewTimer(d / f.times) }
func (f fast) Sleep(d time.Duration)                  { f.RealClock.Sleep(d / f.times) }

func (f fast) NewTicker(d time.Duration) clock.Ticker {
	return f.RealClock.NewTicker(max(d/f.times, time.Millisecond))
}

func (f fast) AfterFunc(d time.Duration, do func()) clock.Timer {
	return f.RealClock.AfterFunc(d/f.times, do)
}
