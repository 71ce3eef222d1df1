package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
)

// slowSink writes an event when it is let to.
type slowSink struct {
	events.EventSink
	begun   chan struct{}
	release chan struct{}
}

func (s slowSink) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	s.begun <- struct{}{}
	<-s.release
	return e, nil
}

func TestEventsThatDoNotFitAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := slowSink{begun: make(chan struct{}, laneLength), release: make(chan struct{})}
		l := &lane{EventSink: sink, slots: make(chan struct{}, laneWidth)}
		errs := make(chan error, laneLength)
		for range laneLength {
			go func() {
				_, err := l.Create(t.Context(), &eventsv1.Event{})
				errs <- err
			}()
		}
		synctest.Wait()
		if n := len(sink.begun); n != laneWidth {
			t.Errorf("%d are written at a time, want %d", n, laneWidth)
		}
		var status apierrors.APIStatus
		if _, err := l.Create(t.Context(), &eventsv1.Event{}); !errors.As(err, &status) {
			t.Errorf("%v: client-go would try again what is no answer of a server", err)
		}
		close(sink.release)
		for range laneLength {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}
