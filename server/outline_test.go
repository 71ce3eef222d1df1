package server

import "testing"

func TestOutlinesOfLargeObjectsAreNotKept(t *testing.T) {
	var o outlines
	for size, want := range map[int]bool{maxOutline: true, maxOutline + 1: false} {
		outline := make([]byte, size)
		o.put(door{}, outline, []byte("{}"))
		if _, kept := o.get(door{}, outline); kept != want {
			t.Errorf("of %d bytes: kept %t, want %t", size, kept, want)
		}
	}
}
