package controllers

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestCreatingPodsEndsEarly(t *testing.T) {
	quota := errors.New("exceeded quota")
	for name, c := range map[string]struct {
		fails       func(i int) error
		done, asked int
		err         error
	}{
		"never, where all succeed":                    {func(int) error { return nil }, 20, 20, nil},
		"with the batch in which one fails":           {func(i int) error { return map[bool]error{true: quota}[i == 4] }, 6, 7, quota},
		"with the first one in a namespace that goes": {func(int) error { return errNamespaceGoing }, 1, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			done, err := inBatches(20, func(i int) error { asked.Add(1); return c.fails(i) })
			if done != c.done || int(asked.Load()) != c.asked || !errors.Is(err, c.err) {
				t.Errorf("%d done, %d asked, %v; want %d, %d, %v", done, asked.Load(), err, c.done, c.asked, c.err)
			}
		})
	}
}
