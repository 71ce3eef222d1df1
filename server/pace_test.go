package server

import (
	"testing"
	"time"
)

func TestAWriteAfterAQuietTimeIsNotHeldBack(t *testing.T) {
	var b beat
	now := time.Now()
	for range 10_000 {
		b.write(now)
	}
	if pause := b.write(now); pause != longestPause {
		t.Errorf("in a burst: %v", pause)
	}
	if pause := b.write(now.Add(longestPause)); pause != longestPause {
		t.Errorf("just after a burst: %v", pause)
	}
	if pause := b.write(now.Add(3 * longestPause)); pause >= leastPause {
		t.Errorf("after a quiet time: %v", pause)
	}
}

func TestFewWritesAreNotHeldBack(t *testing.T) {
	var b beat
	now := time.Now()
	for range 100 {
		now = now.Add(longestPause / 5)
		if pause := b.write(now); pause >= leastPause {
			t.Fatalf("with five writes a window: %v", pause)
		}
	}
}
